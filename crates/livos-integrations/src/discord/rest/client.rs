//! The client: one request within the limits, tried again where that is safe.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use livos_core::{
    backoff::{Backoff, BackoffConfig},
    drive::now,
    http::{BoxError, HttpClient, ReadError, retry_after},
    secret::Secret,
    time::{Clock, SystemClock},
};
use serde::Deserialize;
use tokio::sync::Notify;

use super::{
    error::RestError,
    limits::{Admission, Answer, Limits, LimitsConfig, Route},
};

/// How Discord is asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RestConfig {
    /// Where. `https://discord.com/api/v10`; another for a server that speaks the same.
    pub base_url: Uri,
    /// The bot's token.
    pub token: Secret,
    /// Who asks, in the form that Discord demands: `DiscordBot (address, version)`.
    pub user_agent: String,
    /// The limits that are kept.
    pub limits: LimitsConfig,
    /// How long one answer may take. 15 s: Discord is slow at times, and a worker's lease is a
    /// minute.
    pub timeout: Duration,
    /// How long a request may wait for Discord's limits, all in all. 30 s: a worker is better off
    /// with a job that comes again later.
    pub longest_wait: Duration,
    /// Attempts in all, where an attempt can be repeated. 4: some seconds of a broken network.
    pub attempts: u32,
    /// The waits between attempts after a failure.
    pub backoff: BackoffConfig,
    /// Bytes of the longest answer. 4 MiB: a hundred messages with everything in them are less than
    /// one.
    pub max_answer: usize,
    /// Hosts that files are fetched from, without the bot's token. Discord's own two: the address
    /// of a file comes from outside.
    pub file_hosts: Vec<String>,
}

impl RestConfig {
    /// Discord itself, for the bot with this token.
    pub fn new(token: Secret) -> Self {
        Self {
            base_url: Uri::from_static("https://discord.com/api/v10"),
            token,
            user_agent: concat!(
                "DiscordBot (https://github.com/livos-project/livos, ",
                env!("CARGO_PKG_VERSION"),
                ")"
            )
            .into(),
            limits: LimitsConfig::default(),
            timeout: Duration::from_secs(15),
            longest_wait: Duration::from_secs(30),
            attempts: 4,
            backoff: BackoffConfig::default(),
            max_answer: 4 << 20,
            file_hosts: vec!["cdn.discordapp.com".into(), "media.discordapp.net".into()],
        }
    }
}

/// Discord over any HTTP client. Clones share the limits, so make one for each bot.
#[derive(Clone)]
pub struct Rest {
    inner: Arc<Inner>,
    patience: Duration,
}

struct Inner {
    config: RestConfig,
    authorization: HeaderValue,
    http: HttpClient,
    limits: Mutex<Limits>,
    answered: Notify,
}

impl fmt::Debug for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rest").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// A request before it has headers.
pub(super) struct Call {
    pub(super) route: Route,
    pub(super) method: Method,
    pub(super) body: Option<Bytes>,
    /// Whether a second one does nothing that the first has not done.
    pub(super) repeatable: bool,
}

/// A failure, and whether it is worth another attempt.
struct Attempt {
    error: RestError,
    again: Option<Again>,
}

enum Again {
    /// It was certainly not carried out: after Discord's own wait.
    Waited,
    /// Nobody knows: only what can be repeated, after a backoff.
    Backoff,
}

impl Rest {
    /// A client over any HTTP service, which keeps its connections. Fails where the token can't
    /// stand in a header.
    pub fn new(config: RestConfig, http: HttpClient) -> Result<Self, RestError> {
        let invalid = |error: BoxError| RestError::Invalid(error);
        if config.token.expose().trim().is_empty() {
            return Err(invalid("the bot's token is blank".into()));
        }
        let mut authorization = HeaderValue::from_str(&format!("Bot {}", config.token.expose()))
            .map_err(|error| invalid(error.into()))?;
        authorization.set_sensitive(true);
        HeaderValue::from_str(&config.user_agent).map_err(|error| invalid(error.into()))?;
        let limits = Mutex::new(Limits::new(config.limits));
        let patience = config.longest_wait;
        let inner = Arc::new(Inner { config, authorization, http, limits, answered: Notify::new() });
        Ok(Self { inner, patience })
    }

    /// A client over rustls with the Mozilla roots, connections kept alive; plain HTTP where the
    /// address says so.
    #[cfg(feature = "tls")]
    pub fn over_tls(config: RestConfig) -> Result<Self, RestError> {
        Self::new(config, HttpClient::over_tls().map_err(RestError::Invalid)?)
    }

    /// The same client, whose requests wait for so long at most for Discord's limits.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    pub(in crate::discord) fn config(&self) -> &RestConfig {
        &self.inner.config
    }

    /// The answer's body. Waits for the limits, and tries again what failed for now and can be
    /// repeated.
    pub(super) async fn call(&self, call: Call) -> Result<Bytes, RestError> {
        let config = &self.inner.config;
        let (mut waited, mut backoff) = (Duration::ZERO, Backoff::new(config.backoff, rand::random()));
        for attempt in 1.. {
            waited += self.admitted(&call.route, self.patience.saturating_sub(waited)).await?;
            let Attempt { error, again } = match self.attempt(&call).await {
                Ok(body) => return Ok(body),
                Err(attempt) => attempt,
            };
            match again {
                _ if attempt >= config.attempts => return Err(error),
                // The limits know how long, and the next admission waits for it.
                Some(Again::Waited) => {}
                Some(Again::Backoff) if call.repeatable => tokio::time::sleep(backoff.next_delay()).await,
                _ => return Err(error),
            }
            tracing::debug!(route = call.route.name, attempt, %error, "a request to discord is tried again");
        }
        // The loop has no end of its own.
        Err(RestError::TimedOut(waited))
    }

    /// Waits until the request may go, at most for `patience`; answers how long it took.
    async fn admitted(&self, route: &Route, patience: Duration) -> Result<Duration, RestError> {
        let begun = now();
        loop {
            let answered = self.inner.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            let admission = self.limits().admit(now(), route);
            let left = (begun + patience).saturating_duration_since(now());
            match admission {
                Admission::Go => return Ok(now() - begun),
                Admission::Refused(why) => return Err(RestError::Withheld(why)),
                Admission::At(at) => {
                    let wait = at.saturating_duration_since(now());
                    if wait > left {
                        return Err(RestError::Limited { retry_after: wait });
                    }
                    // An answer may free a place before.
                    let _ = tokio::time::timeout(wait, answered).await;
                }
                Admission::AfterAnswer => {
                    if tokio::time::timeout(left, answered).await.is_err() {
                        return Err(RestError::Limited { retry_after: Duration::from_secs(1) });
                    }
                }
            }
        }
    }

    async fn attempt(&self, call: &Call) -> Result<Bytes, Attempt> {
        let place = Place { rest: self, route: &call.route, answered: false };
        let request = self.request(call).map_err(|error| Attempt { error, again: None })?;
        let (status, headers, body) = self.exchange(request, self.inner.config.max_answer).await?;
        let said = Said::read(status, &body);
        place.answered(&answer(status, &headers, &said));
        match status {
            _ if status.is_success() => Ok(body),
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = said.wait(&headers).unwrap_or(Duration::from_secs(1));
                Err(Attempt { error: RestError::Limited { retry_after }, again: Some(Again::Waited) })
            }
            _ if status.is_server_error() => {
                Err(Attempt { error: RestError::Failed(status), again: Some(Again::Backoff) })
            }
            _ => {
                let message = said.message(&self.inner.config.token);
                let error = RestError::Refused { status, code: said.code, message };
                Err(Attempt { error, again: None })
            }
        }
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, RestError> {
        let base = self.inner.config.base_url.to_string();
        let address = format!("{}{}", base.trim_end_matches('/'), call.route.path);
        let mut request = Request::builder()
            .method(call.method.clone())
            .uri(address)
            .header(header::USER_AGENT, self.inner.config.user_agent.as_str());
        if call.route.bot {
            request = request.header(header::AUTHORIZATION, self.inner.authorization.clone());
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = call.body.clone().unwrap_or_default();
        request.body(body).map_err(|error| RestError::Invalid(error.into()))
    }

    /// Sends it and reads the whole answer, within the time and the length that are allowed.
    async fn exchange(
        &self,
        request: Request<Bytes>,
        longest: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), Attempt> {
        let backoff = |error| Attempt { error, again: Some(Again::Backoff) };
        let exchange = async {
            let response = self.inner.http.send(request).await;
            let (head, body) = response.map_err(|error| backoff(RestError::Unreachable(error)))?.into_parts();
            match body.read(longest).await {
                Ok(body) => Ok((head.status, head.headers, body)),
                Err(ReadError::TooLong { .. }) => {
                    Err(Attempt { error: RestError::TooLong(longest), again: None })
                }
                Err(error) => Err(backoff(RestError::Unreachable(error.into()))),
            }
        };
        let limit = self.inner.config.timeout;
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or_else(|_| Err(backoff(RestError::TimedOut(limit))))
    }

    /// Fetches a file from one of [`RestConfig::file_hosts`], of at most so many bytes. The bot's
    /// token stays here.
    pub async fn download(&self, url: &str, longest: usize) -> Result<Bytes, RestError> {
        let uri: Uri =
            url.parse().map_err(|error: http::uri::InvalidUri| RestError::Invalid(error.into()))?;
        let allowed =
            uri.host().is_some_and(|host| self.inner.config.file_hosts.iter().any(|known| known == host));
        let same_scheme = uri.scheme() == self.inner.config.base_url.scheme();
        if !allowed || !same_scheme {
            return Err(RestError::Invalid("the file is not at a host that files are fetched from".into()));
        }
        let request = Request::get(uri).header(header::USER_AGENT, self.inner.config.user_agent.as_str());
        let request = request.body(Bytes::new()).map_err(|error| RestError::Invalid(error.into()))?;
        match self.exchange(request, longest).await {
            Ok((status, _, body)) if status.is_success() => Ok(body),
            Ok((status, ..)) if status.is_server_error() => Err(RestError::Failed(status)),
            Ok((status, ..)) => Err(RestError::Refused { status, code: 0, message: "no file".into() }),
            Err(attempt) => Err(attempt.error),
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.inner.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a bucket, given back whatever becomes of the request.
struct Place<'a> {
    rest: &'a Rest,
    route: &'a Route,
    answered: bool,
}

impl Place<'_> {
    fn answered(mut self, answer: &Answer) {
        self.answered = true;
        self.rest.limits().observe(now(), self.route, answer);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.rest.limits().abandon(self.route);
        }
        self.rest.inner.answered.notify_waiters();
    }
}

/// The body of a refusal.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
    #[serde(default)]
    code: u32,
    #[serde(default)]
    global: bool,
    retry_after: Option<f64>,
}

impl Said {
    fn read(status: StatusCode, body: &[u8]) -> Self {
        if status.is_success() { Self::default() } else { serde_json::from_slice(body).unwrap_or_default() }
    }

    /// The body has fractions; the header is rounded up.
    fn wait(&self, headers: &HeaderMap) -> Option<Duration> {
        self.retry_after
            .and_then(seconds)
            .or_else(|| Some(retry_after(headers, SystemClock.now())?.min(LONGEST)))
    }

    /// Its words, without the token.
    fn message(&self, token: &Secret) -> String {
        const LONGEST: usize = 200;
        token
            .redact(&self.message)
            .chars()
            .take(LONGEST)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect()
    }
}

/// What the headers tell of the limits.
fn answer(status: StatusCode, headers: &HeaderMap, said: &Said) -> Answer {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let count = |name: &str| text(name).and_then(|value| value.parse().ok());
    Answer {
        status: status.as_u16(),
        bucket: text("x-ratelimit-bucket").map(str::to_owned),
        limit: count("x-ratelimit-limit"),
        remaining: count("x-ratelimit-remaining"),
        reset_after: number(headers, "x-ratelimit-reset-after").and_then(seconds),
        retry_after: said.wait(headers),
        global: said.global
            || text("x-ratelimit-global").is_some()
            || text("x-ratelimit-scope") == Some("global"),
        shared: text("x-ratelimit-scope") == Some("shared"),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// The longest wait that is believed. A day: no caller waits longer.
const LONGEST: Duration = Duration::from_secs(86_400);

fn seconds(seconds: f64) -> Option<Duration> {
    (seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64())))
}
