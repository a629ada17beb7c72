//! The client: one call, one answer, over whatever HTTP service it was given, and never the token
//! in what it says.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ::http::{HeaderMap, Request, StatusCode, header};
use bytes::Bytes;
use livos_core::{
    http::{self, HttpClient},
    secret::Secret,
    time::{Clock, SystemClock},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ErrorKind, InvalidTelegramConfig, TelegramConfig, TelegramError, error::Said, pace::Paces};

/// A client of the Bot API as one bot. Cloning shares the HTTP client, and what is known of the
/// pace of chats.
#[derive(Clone)]
pub struct Bot {
    config: Arc<TelegramConfig>,
    id: i64,
    http: HttpClient,
    paces: Arc<Mutex<Paces>>,
}

/// The longest answer that is read, in bytes. 8 MiB: a hundred updates of the longest messages.
const MAX_ANSWER: usize = 8 << 20;
/// The most of somebody else's text that an error repeats, in characters.
const MAX_REPEATED: usize = 500;

/// What a call is answered with.
#[derive(Deserialize)]
struct Envelope<T> {
    ok: bool,
    result: Option<T>,
}

impl Bot {
    /// A bot over any HTTP service, with a configuration that is checked here, once.
    pub fn new(config: TelegramConfig, http: HttpClient) -> Result<Self, InvalidTelegramConfig> {
        let id = config.validate()?;
        Ok(Self { config: Arc::new(config), id, http, paces: Arc::default() })
    }

    /// A bot over rustls; plain HTTP where the base URL says so.
    #[cfg(feature = "tls")]
    pub fn over_tls(config: TelegramConfig) -> Result<Self, InvalidTelegramConfig> {
        let http = HttpClient::over_tls()
            .map_err(|_| InvalidTelegramConfig("the TLS library refused its own defaults"))?;
        Self::new(config, http)
    }

    /// The bot's number, which is in its token.
    pub fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn config(&self) -> &TelegramConfig {
        &self.config
    }

    pub(super) fn paces(&self) -> MutexGuard<'_, Paces> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls a method and waits for its result.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &impl Serialize,
    ) -> Result<T, TelegramError> {
        self.call_within(method, parameters, self.config.timeout).await
    }

    /// The same with a time of its own.
    pub(super) async fn call_within<T: DeserializeOwned>(
        &self,
        method: &'static str,
        parameters: &impl Serialize,
        limit: Duration,
    ) -> Result<T, TelegramError> {
        let failed = |kind, what| TelegramError::of_ours(kind, format!("telegram's {method} {what}"));
        let body = serde_json::to_vec(parameters)
            .map_err(|error| failed(ErrorKind::Rejected, format!("can't be asked for: {error}")))?;
        let request = Request::post(self.address("/bot", method))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(body))
            .map_err(|_| failed(ErrorKind::Rejected, "has no valid address".into()))?;
        let (status, headers, body) = self.send(method, request, limit, MAX_ANSWER).await?;
        if status.is_success() {
            // Such an error repeats what it met.
            let unreadable = |error: serde_json::Error| {
                let why = self.redact(&error.to_string());
                failed(ErrorKind::Lost, format!("was answered with something else: {why}"))
            };
            let envelope: Envelope<T> = serde_json::from_slice(&body).map_err(unreadable)?;
            if let (true, Some(result)) = (envelope.ok, envelope.result) {
                return Ok(result);
            }
        }
        let mut said: Said = serde_json::from_slice(&body).unwrap_or_default();
        said.description = self.redact(&said.description);
        let status = if status.is_success() { StatusCode::BAD_GATEWAY } else { status };
        Err(TelegramError::refused(method, status, http::retry_after(&headers, SystemClock.now()), said))
    }

    /// The address of a method or a file: base, token, rest.
    pub(super) fn address(&self, kind: &str, rest: &str) -> String {
        let base = self.config.base_url.to_string();
        format!("{}{kind}{}/{rest}", base.trim_end_matches('/'), self.config.token.expose())
    }

    /// Sends a request and reads its whole answer.
    pub(super) async fn send(
        &self,
        what: &str,
        request: Request<Bytes>,
        limit: Duration,
        most: usize,
    ) -> Result<(StatusCode, HeaderMap, Bytes), TelegramError> {
        let failed = |kind, why: &str| {
            TelegramError::of_ours(kind, format!("telegram's {what} got no answer: {}", self.redact(why)))
        };
        let answered = async {
            let response = self.http.send(request).await.map_err(|error| {
                let kind = if http::never_left(&*error) { ErrorKind::NotConnected } else { ErrorKind::Lost };
                failed(kind, &http::describe(&*error))
            })?;
            let (head, body) = response.into_parts();
            let body = body.read(most).await;
            let body = body.map_err(|error| failed(ErrorKind::Lost, &http::describe(&error)))?;
            Ok((head.status, head.headers, body))
        };
        let silent = || failed(ErrorKind::Lost, &format!("none came within {} s", limit.as_secs()));
        tokio::time::timeout(limit, answered).await.unwrap_or_else(|_| Err(silent()))
    }

    /// The beginning of a text of somebody else's, without the token: an HTTP client may put the
    /// whole address into its errors, and a server what it was asked with into its answer.
    fn redact(&self, text: &str) -> String {
        let key = self.config.token.expose().split_once(':').map_or("", |(_, key)| key);
        Secret::new(key).redact(text).chars().take(MAX_REPEATED).collect()
    }
}

impl fmt::Debug for Bot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bot").field("id", &self.id).finish_non_exhaustive()
    }
}
