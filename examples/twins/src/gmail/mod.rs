//! A twin of the Gmail API with one mailbox, and of the Pub/Sub push that tells of it.
//!
//! | route, below `/gmail/v1/users/me` | what it answers | units |
//! | --- | --- | ---: |
//! | `GET profile` | the address and where the history stands | 1 |
//! | `POST watch`, `POST stop` | `historyId` and `expiration` (text, ms); nothing | 100, 50 |
//! | `GET history` | records after `startHistoryId`, by `historyTypes` and `labelId`, in pages of `maxResults` | 2 |
//! | `GET messages`, `GET messages/ID` | ids by `q` and `labelIds`, newest first; `minimal`, `metadata`, `full` or `raw` | 5 |
//! | `POST messages/send` | the id, after `raw` was taken in; 35 MiB at the most | 100 |
//! | `POST messages/ID/modify`, `messages/batchModify`, `messages/ID/trash` | labels put on and taken off | 5, 50, 5 |
//! | `GET messages/ID/attachments/ID` | the bytes; the id is another at each reading of the message | 5 |
//! | `GET threads/ID`, `GET labels`, `POST labels` | | 10, 1, 5 |
//!
//! - **Token**: `Authorization: Bearer`; 401 `authError` for one that is not let in
//!   ([`Config::tokens`], [`Gmail::revoke`], [`Gmail::grant`], or a [`Door`] that asks another
//!   twin).
//! - **History**: ids grow by uneven steps. A start older than [`Config::history_lifetime`] (7
//!   days), or than [`Gmail::forget_history`], is 404, as is one from the future.
//! - **Watch**: 7 days. The same topic renews; another while one is active is 400 "Only one user
//!   push notification client allowed per developer". A push comes at once, and then for each
//!   change of a watched label, one a second at the most; what is beyond that is dropped.
//! - **Threads**: a mail that is sent joins a thread where `References` or `In-Reply-To` name a
//!   mail in it and the subject is the same but for `Re:`; `threadId` alone does not do it.
//! - **Quota**: units a minute, then 403 `userRateLimitExceeded`.
//! - **Faults**: those of [`crate::fault`]; [`Gmail::fail_next`] and [`Gmail::flaky`] for the
//!   provider's own refusals, by route; lost, late and repeated pushes by [`Config`]. Everything
//!   random is seeded.
//! - **From outside**: `POST /twin/deliver` `{"from", "subject", "text"}` or `{"raw"}` delivers a
//!   mail, `POST /twin/revoke`, `POST /twin/grant` and `POST /twin/forget-history` do what their
//!   names say.
//!
//! Not there: drafts, settings, filters, the HTTP batch, `OR` in searches.

mod answer;
mod error;
mod mail;
mod mailbox;
mod methods;
mod push;
mod query;
mod query_string;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use self::mailbox::Mailbox;
use crate::{
    connection::{Connection, Host, lock},
    fault::Refusal,
    latency::Profile,
    random::Random,
    serve::{self, Body, Twin},
};

/// How the twin behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// All randomness comes from it.
    pub seed: u64,
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// Whose mailbox it is.
    pub address: String,
    /// The tokens that are let in; any non-empty one where `None`.
    pub tokens: Option<Vec<String>>,
    /// Who is let in, where another twin knows that; then [`Config::tokens`] says nothing.
    pub door: Option<Door>,
    /// The twin's time at its start, in ms since 1970; the machine's where `None`. It goes on with
    /// the runtime's clock.
    pub epoch_ms: Option<i64>,
    /// How long a watch lasts.
    pub watch_lifetime: Duration,
    /// How long history is kept.
    pub history_lifetime: Duration,
    /// Quota units a minute; no limit where `None`.
    pub units_per_minute: Option<u64>,
    /// The chance that a push is lost, 0 to 1.
    pub push_loss: f64,
    /// The chance that a push comes twice, 0 to 1.
    pub push_repeats: f64,
    /// The latest that a push comes; each is late by a time of its own, so that they overtake each
    /// other.
    pub push_delay: Duration,
    /// Where pushes are posted to, as `http://host:port/path`.
    pub push_to: Option<http::Uri>,
    /// Makes the token of a push that is posted, for its `Authorization`; none without it.
    pub push_token: Option<Signer>,
}

type Admit = dyn Fn(&HeaderMap) -> Result<(), Box<Response<Body>>> + Send + Sync;

/// Decides by the headers of a request whether it is let in, and else answers it.
#[derive(Clone)]
pub struct Door(Arc<Admit>);

impl Door {
    /// This decision.
    pub fn new(
        admit: impl Fn(&HeaderMap) -> Result<(), Box<Response<Body>>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(admit))
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

/// Makes a token for each push.
#[derive(Clone)]
pub struct Signer(Arc<dyn Fn() -> String + Send + Sync>);

impl Signer {
    /// Made like this.
    pub fn new(sign: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(sign))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            address: "anna@example.org".into(),
            tokens: None,
            door: None,
            epoch_ms: None,
            watch_lifetime: Duration::from_secs(7 * 86_400),
            history_lifetime: Duration::from_secs(7 * 86_400),
            units_per_minute: Some(15_000),
            push_loss: 0.0,
            push_repeats: 0.0,
            push_delay: Duration::ZERO,
            push_to: None,
            push_token: None,
        }
    }
}

/// A refusal of Gmail's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 403 `rateLimitExceeded`.
    RateLimited,
    /// 403 `userRateLimitExceeded`.
    UserRateLimited,
    /// 429 with `Retry-After`, in seconds.
    TooMany(u64),
    /// 403 `dailyLimitExceeded`.
    DailyLimit,
    /// 403 `insufficientPermissions`.
    InsufficientPermissions,
    /// 403 `accessNotConfigured`.
    NotConfigured,
    /// 500 `backendError`.
    Backend,
    /// It is done, and the answer is 503 all the same.
    AnswerLost,
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Requests by route, refused ones too. A route is called as in the API, for instance
    /// `messages.get`.
    pub calls: BTreeMap<&'static str, u64>,
    /// Quota units that were spent.
    pub units: u64,
    /// Requests that were refused because of their token.
    pub unauthorized: u64,
    /// Pushes that went out, repeats too.
    pub pushes: u64,
    /// Pushes that were lost, or dropped because they came too fast.
    pub pushes_dropped: u64,
}

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Gmail(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    epoch: (i64, Instant),
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    mailbox: Mailbox,
    random: Random,
    tokens: Option<Vec<String>>,
    troubles: Vec<(Option<&'static str>, u32, Trouble)>,
    flaky: BTreeMap<&'static str, f64>,
    stats: Stats,
    /// The minute that units are counted in, and how many were spent in it.
    minute: (i64, u64),
    listeners: Vec<mpsc::UnboundedSender<Value>>,
    last_push_ms: Option<i64>,
    pushed: u64,
}

impl Gmail {
    /// A provider that behaves as configured. Must be made inside a tokio runtime.
    pub fn new(config: Config) -> Self {
        let wall = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        let state = State {
            mailbox: Mailbox::new(config.address.clone(), config.seed),
            random: Random::derive(config.seed, "gmail", 0),
            tokens: config.tokens.clone(),
            troubles: Vec::new(),
            flaky: BTreeMap::new(),
            stats: Stats::default(),
            minute: (0, 0),
            listeners: Vec::new(),
            last_push_ms: None,
            pushed: 0,
        };
        let host = Host::new("gmail", config.seed, config.profile.latency());
        let epoch = (config.epoch_ms.unwrap_or_else(wall), Instant::now());
        Self(Arc::new(Inner { host, config, epoch, state: Mutex::new(state) }))
    }

    /// A mail arrives in the inbox, as these bytes; answers its id.
    pub fn deliver(&self, raw: impl Into<Bytes>) -> String {
        self.deliver_as(raw, &["INBOX", "UNREAD"])
    }

    /// A mail arrives with these labels; answers its id.
    pub fn deliver_as(&self, raw: impl Into<Bytes>, labels: &[&str]) -> String {
        let now = self.now_ms();
        let id = lock(&self.0.state).mailbox.take_in(raw.into(), None, labels, now);
        self.changed();
        id
    }

    /// A plain mail arrives; answers its id.
    pub fn deliver_text(&self, from: &str, subject: &str, text: &str) -> String {
        let id = lock(&self.0.state).random.uuid();
        let raw = format!(
            "From: {from}\r\nTo: {}\r\nSubject: {subject}\r\nMessage-ID: <{id}@example.net>\r\n\r\n{text}\r\n",
            self.0.config.address
        );
        self.deliver(raw)
    }

    /// The user deletes a mail for good; false where it is not there.
    pub fn delete(&self, id: &str) -> bool {
        let now = self.now_ms();
        let deleted = lock(&self.0.state).mailbox.delete(id, now);
        self.changed();
        deleted
    }

    /// The user changes labels; false where the mail is not there.
    pub fn relabel(&self, id: &str, add: &[&str], remove: &[&str]) -> bool {
        let owned = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<Vec<_>>();
        let now = self.now_ms();
        let changed = lock(&self.0.state).mailbox.modify(id, &owned(add), &owned(remove), now).is_some();
        self.changed();
        changed
    }

    /// The labels of a mail, in order.
    pub fn labels_of(&self, id: &str) -> Vec<String> {
        lock(&self.0.state).mailbox.labels_of(id)
    }

    /// What was sent, oldest first: id, thread and bytes.
    pub fn sent(&self) -> Vec<(String, String, Bytes)> {
        lock(&self.0.state).mailbox.sent()
    }

    /// No token is let in any more.
    pub fn revoke(&self) {
        lock(&self.0.state).tokens = Some(Vec::new());
    }

    /// This token is let in from now on.
    pub fn grant(&self, token: &str) {
        lock(&self.0.state).tokens.get_or_insert_default().push(token.to_owned());
    }

    /// All history up to now is forgotten, as a busy or an idle mailbox may have it after hours.
    pub fn forget_history(&self) {
        lock(&self.0.state).mailbox.forget_history();
    }

    /// The watch ends without a word, as when another process stopped it.
    pub fn lose_watch(&self) {
        lock(&self.0.state).mailbox.watch = None;
    }

    /// When the watch ends, in ms since 1970; none where there is none.
    pub fn watch_expires_ms(&self) -> Option<i64> {
        lock(&self.0.state).mailbox.watch.as_ref().map(|watch| watch.expires_ms)
    }

    /// The next `count` requests to a route, or to any, get this.
    pub fn fail_next(&self, route: Option<&'static str>, count: u32, trouble: Trouble) {
        lock(&self.0.state).troubles.push((route, count, trouble));
    }

    /// From now on requests to a route fail with this chance, 0 to 1, in various ways.
    pub fn flaky(&self, route: &'static str, chance: f64) {
        lock(&self.0.state).flaky.insert(route, chance);
    }

    /// Where the history stands.
    pub fn history_id(&self) -> u64 {
        lock(&self.0.state).mailbox.history_id
    }

    /// The pushes from now on, each as the body that Pub/Sub posts.
    pub fn pushes(&self) -> mpsc::UnboundedReceiver<Value> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.0.state).listeners.push(sender);
        receiver
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        lock(&self.0.state).stats.clone()
    }

    /// The twin's time, in ms since 1970.
    pub fn now_ms(&self) -> i64 {
        let (epoch, start) = self.0.epoch;
        epoch.saturating_add(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX))
    }
}

impl Twin for Gmail {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, request: Request<Incoming>, _: Arc<Connection>) -> Response<Body> {
        self.answer(request).await
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        let (reason, message) = match refusal.status {
            401 => ("authError", "Invalid Credentials"),
            403 => ("rateLimitExceeded", "Rate Limit Exceeded"),
            404 => ("notFound", "Requested entity was not found."),
            429 => ("rateLimitExceeded", "Too many concurrent requests for user"),
            _ => ("backendError", "Backend Error"),
        };
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        error::Refused::new(status, reason, message).into_response()
    }

    fn figures(&self) -> Value {
        let stats = self.stats();
        json!({
            "calls": stats.calls, "units": stats.units, "unauthorized": stats.unauthorized, "pushes": stats.pushes,
            "pushes_dropped": stats.pushes_dropped, "sent": self.sent().len(), "watch_expires_ms": self.watch_expires_ms(),
        })
    }

    fn order(&self, order: &str, body: &Value) -> Option<Value> {
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        match order {
            "deliver" => {
                let id = match body["raw"].as_str() {
                    Some(raw) => self.deliver(raw.to_owned()),
                    None => self.deliver_text(text("from"), text("subject"), text("text")),
                };
                return Some(json!({ "id": id }));
            }
            "revoke" => self.revoke(),
            "grant" => self.grant(text("token")),
            "forget-history" => self.forget_history(),
            _ => return None,
        }
        Some(json!({}))
    }
}

/// A JSON answer.
fn ok(body: &Value) -> Response<Body> {
    serve::json(StatusCode::OK, body)
}
