//! A twin of Google: the authorization server with every way in which a grant dies, and the issuer
//! of ID tokens.
//!
//! | route | what it answers |
//! | --- | --- |
//! | `GET /o/oauth2/v2/auth` | consents without asking anybody, and redirects with a code; or denies, or leaves scopes out, as told |
//! | `POST /token` | exchanges a code (PKCE is checked), refreshes a token |
//! | `POST /revoke` | ends the grant of a token, for all clients of the project |
//! | `GET /tokeninfo`, `GET /oauth2/v3/userinfo` | what a token is good for; whose it is |
//! | `GET /oauth2/v3/certs`, `GET /oauth2/v1/certs` | the keys, as a JWK set and as certificates |
//! | `GET /.well-known/openid-configuration` | where all this is |
//!
//! - **Lifetimes**: a code ten minutes and one use (a second use ends what came of the first); an
//!   access token 3599 s; a refresh token seven days in testing, six months unused, until the 101st
//!   of its client and account, or until its time where it was given for a time.
//! - **Ends**: [`Google::end_grants`] for each of [`Death`]; the automatic ones come by the twin's
//!   clock. All answer `invalid_grant`, with the texts and the `error_subtype` that were seen.
//! - **A refresh gives no new refresh token**, unless [`Config::rotation`] says so; with
//!   [`Rotation::Strict`] the use of an old one ends the grant.
//! - **Answers break** by [`Google::answer_next`]: not JSON, a portal's page, nothing at all, a
//!   lifetime as text or missing, no refresh token, slow, mute, lost after the work was done.
//!   Statuses with `Retry-After` come by [`Twin::refuse`], broken connections by [`Twin::inject`].
//! - **The clock** is the runtime's from [`Config::epoch_ms`] on, and [`Google::set_skew`] sets it
//!   apart from the client's; `Date` shows it.
//! - **Keys** rotate by [`Google::rotate_keys`]: the new and the previous one are published.
//!
//! Orders from another process are in the module `orders`.

mod accounts;
mod endpoints;
mod jwt;
mod orders;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::accounts::{Caller, Death, Publishing, Rotation};
use self::{accounts::Accounts, jwt::Signer};
use crate::{
    connection::{Connection, Host, lock},
    fault::Refusal,
    latency::Profile,
    serve::{self, Body, Twin},
};

/// Who signs ID tokens and answers authorization requests.
pub const ISSUER: &str = "https://accounts.google.com";

/// How the twin behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// All randomness comes from it.
    pub seed: u64,
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// The one OAuth client.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Where it may redirect to; anywhere where this is empty.
    pub redirect_uris: Vec<String>,
    /// The accounts there are; the first consents unless the request hints at another.
    pub accounts: Vec<String>,
    /// Testing or in production: whether a consent lasts for seven days.
    pub publishing: Publishing,
    /// Whether a refresh gives a new refresh token.
    pub rotation: Rotation,
    /// How long an access token lives.
    pub access_lifetime: Duration,
    /// For how long the user allows access, where the user was asked for a time.
    pub grant_lifetime: Option<Duration>,
    /// Live refresh tokens of one client and account.
    pub refresh_token_limit: usize,
    /// Milliseconds since 1970 when the twin is made; the system's clock where absent.
    pub epoch_ms: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            client_id: "twin-client.apps.googleusercontent.com".into(),
            client_secret: "GOCSPX-twin-secret".into(),
            redirect_uris: Vec::new(),
            accounts: vec!["anna@example.com".into(), "ben@example.com".into()],
            publishing: Publishing::Production,
            rotation: Rotation::Never,
            access_lifetime: Duration::from_secs(3_599),
            grant_lifetime: None,
            refresh_token_limit: 100,
            epoch_ms: None,
        }
    }
}

/// What the user does on the consent screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consent {
    /// Allows everything.
    Allow,
    /// Denies.
    Deny,
    /// Leaves these scopes unticked.
    Without(Vec<String>),
    /// Allows with another account than the hint says.
    As(String),
}

/// What is wrong with an answer of the token endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An error of this name, with the status that goes with it.
    Error(String),
    /// The beginning of the JSON.
    HalfJson,
    /// A page of HTML with status 200, as from a captive portal.
    Page,
    /// An empty body with status 200.
    Empty,
    /// A lifetime that is text.
    TextLifetime,
    /// No lifetime.
    NoLifetime,
    /// A lifetime of so many seconds.
    Lifetime(u64),
    /// No refresh token where one belongs.
    NoRefreshToken,
    /// A refresh token, whatever [`Config::rotation`] says.
    NewRefreshToken,
    /// The right answer, but so much later.
    Slow(Duration),
    /// No answer, ever.
    Mute,
    /// The work is done, then the connection breaks before the answer.
    Lost,
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections open now.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Consents that were asked for.
    pub authorizations: u64,
    /// Codes that were handed in.
    pub exchanges: u64,
    /// Refreshes that were asked for, whatever they came to.
    pub refreshes: u64,
    /// Refreshes that gave a token.
    pub refreshed: u64,
    /// Answers of `invalid_grant`.
    pub invalid_grants: u64,
    /// Tokens that were to be revoked.
    pub revocations: u64,
    /// Times that keys were fetched.
    pub key_fetches: u64,
    /// API calls without a valid token.
    pub unauthorized: u64,
    /// Refresh tokens that live.
    pub live_refresh_tokens: usize,
}

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Google(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    signer: Signer,
    started: Instant,
    epoch_ms: i64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    accounts: Accounts,
    stats: Stats,
    skew_ms: i64,
    consents: VecDeque<Consent>,
    answers: VecDeque<Answer>,
}

/// The largest form that is read.
const MAX_FORM: usize = 64 * 1024;

impl Google {
    /// A provider that behaves as configured. Must be called inside a tokio runtime: its clock runs
    /// by it.
    pub fn new(config: Config) -> Self {
        let host = Host::new("google", config.seed, config.profile.latency());
        let state = Mutex::new(State {
            accounts: Accounts::new(&config),
            stats: Stats::default(),
            skew_ms: 0,
            consents: VecDeque::new(),
            answers: VecDeque::new(),
        });
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let epoch_ms = config.epoch_ms.unwrap_or(i64::try_from(system.as_millis()).unwrap_or(i64::MAX));
        let signer = Signer::new();
        Self(Arc::new(Inner { host, config, signer, started: Instant::now(), epoch_ms, state }))
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let now = self.now_ms();
        let state = lock(&self.0.state);
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            live_refresh_tokens: state.accounts.live_refresh_tokens(now),
            ..state.stats.clone()
        }
    }

    /// Milliseconds since 1970 by the twin's clock.
    pub fn now_ms(&self) -> i64 {
        let elapsed = i64::try_from(self.0.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.0.epoch_ms + elapsed + lock(&self.0.state).skew_ms
    }

    /// Sets the twin's clock apart from the runtime's, in milliseconds.
    pub fn set_skew(&self, skew_ms: i64) {
        lock(&self.0.state).skew_ms = skew_ms;
    }

    /// Ends the grants of an account, or of all.
    pub fn end_grants(&self, account: Option<&str>, how: Death) {
        lock(&self.0.state).accounts.end(account, how);
    }

    /// Forgets all access tokens, as after an outage. The grants live on.
    pub fn forget_access_tokens(&self) {
        lock(&self.0.state).accounts.forget_access();
    }

    /// What the user does at the next consent.
    pub fn consent_next(&self, consent: Consent) {
        lock(&self.0.state).consents.push_back(consent);
    }

    /// How the next answer of the token endpoint goes wrong. Further ones queue up.
    pub fn answer_next(&self, answer: Answer) {
        lock(&self.0.state).answers.push_back(answer);
    }

    /// Forgets the answers that were to go wrong.
    pub fn clear_answers(&self) {
        lock(&self.0.state).answers.clear();
    }

    /// Signs with the next key from now on. The one before stays published.
    pub fn rotate_keys(&self) {
        self.0.signer.rotate();
    }

    /// The key set as published, for a verifier that fetches nothing.
    pub fn key_set(&self) -> Value {
        self.0.signer.key_set()
    }

    /// Signs claims with the current key: for tokens with something wrong.
    pub fn sign(&self, claims: &Value) -> String {
        self.0.signer.sign(claims)
    }

    /// The token that Pub/Sub puts into `Authorization` of a push, as this service account for this
    /// audience.
    pub fn push_token(&self, audience: &str, service_account: &str) -> String {
        let now = self.now_ms() / 1000;
        self.sign(&json!({
            "aud": audience, "azp": "104000000000000000001", "email": service_account, "email_verified": true,
            "exp": now + 3_600, "iat": now, "iss": ISSUER, "sub": "104000000000000000001",
        }))
    }

    /// Gives a client a refresh token without a browser, as after a consent to these scopes.
    pub fn grant(&self, account: &str, scopes: &[&str]) -> String {
        let now = self.now_ms();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        lock(&self.0.state).accounts.grant(now, account, scopes).refresh
    }

    /// Gives an access token without a browser, as after a consent to these scopes.
    pub fn access_token(&self, account: &str, scopes: &[&str]) -> String {
        let now = self.now_ms();
        let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        lock(&self.0.state).accounts.grant(now, account, scopes).access
    }

    /// Whose call of an API this is: the caller by its bearer token, who must have been allowed one
    /// of the scopes; or Google's answer to a stranger.
    pub fn caller(&self, headers: &HeaderMap, any_of: &[&str]) -> Result<Caller, Box<Response<Body>>> {
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        let now = self.now_ms();
        let mut state = lock(&self.0.state);
        let Some(caller) = bearer.and_then(|token| state.accounts.caller(now, token)) else {
            state.stats.unauthorized += 1;
            let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid \
                           authentication credential.";
            return Err(Box::new(api_error(
                StatusCode::UNAUTHORIZED,
                "UNAUTHENTICATED",
                "authError",
                message,
            )));
        };
        if any_of.iter().any(|scope| caller.scopes.iter().any(|held| held == scope)) {
            return Ok(caller);
        }
        let message = "Request had insufficient authentication scopes.";
        Err(Box::new(api_error(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "insufficientPermissions",
            message,
        )))
    }

    async fn answer(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let query = request.uri().query().unwrap_or_default().to_owned();
        match (request.method(), path.as_str()) {
            (&Method::GET, "/o/oauth2/v2/auth" | "/o/oauth2/auth") => self.authorize(&query),
            (&Method::POST, "/token" | "/oauth2/v4/token") => self.token(request, connection).await,
            (&Method::POST, "/revoke" | "/o/oauth2/revoke") => self.revoke(&query, request).await,
            (&Method::GET | &Method::POST, "/tokeninfo" | "/oauth2/v3/tokeninfo") => self.token_info(&query),
            (&Method::GET, "/oauth2/v3/userinfo" | "/v1/userinfo") => self.user_info(request.headers()),
            (&Method::GET, "/oauth2/v3/certs") => self.keys(self.0.signer.key_set()),
            (&Method::GET, "/oauth2/v1/certs") => self.keys(self.0.signer.certificates()),
            (&Method::GET, "/.well-known/openid-configuration") => self.discovery(request.headers()),
            // The APIs behind the grants; each is a module of its own.
            _ => api_error(StatusCode::NOT_FOUND, "NOT_FOUND", "notFound", "Not Found"),
        }
    }
}

impl Twin for Google {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let mut response = self.answer(request, connection).await;
        let now = u64::try_from(self.now_ms()).unwrap_or_default();
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now));
        if let Ok(date) = HeaderValue::try_from(date) {
            response.headers_mut().insert(header::DATE, date);
        }
        response
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (error, description) = match refusal.status {
            400 => ("invalid_request", "Bad Request"),
            401 => ("invalid_client", "The OAuth client was not found."),
            403 => ("access_denied", "Forbidden"),
            429 => ("rate_limit_exceeded", "Rate Limit Exceeded"),
            _ => ("internal_failure", "Backend Error"),
        };
        serve::json(status, &json!({ "error": error, "error_description": description }))
    }

    fn figures(&self) -> Value {
        let stats = self.stats();
        json!({
            "open_connections": stats.open_connections, "total_connections": stats.total_connections,
            "authorizations": stats.authorizations, "exchanges": stats.exchanges, "refreshes": stats.refreshes,
            "refreshed": stats.refreshed, "invalid_grants": stats.invalid_grants, "revocations": stats.revocations,
            "key_fetches": stats.key_fetches, "unauthorized": stats.unauthorized,
            "live_refresh_tokens": stats.live_refresh_tokens,
        })
    }

    fn order(&self, order: &str, described: &Value) -> Option<Value> {
        orders::obey(self, order, described)
    }
}

/// An error as Google's APIs write it.
fn api_error(status: StatusCode, name: &str, reason: &str, message: &str) -> Response<Body> {
    let mut response = serve::json(
        status,
        &json!({ "error": {
            "code": status.as_u16(), "message": message, "status": name,
            "errors": [{ "message": message, "domain": "global", "reason": reason }],
        } }),
    );
    if status == StatusCode::UNAUTHORIZED {
        let scheme = HeaderValue::from_static(
            "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"",
        );
        response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
    }
    response
}

/// A form or a query. Where a name repeats, the last one counts.
#[derive(Debug, Default)]
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    async fn read(request: Request<Incoming>) -> Option<Self> {
        let body = Limited::new(request.into_body(), MAX_FORM).collect().await.ok()?;
        Some(Self::parse(&body.to_bytes()))
    }

    fn text(&self, name: &str) -> &str {
        self.0.iter().rev().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }
}
