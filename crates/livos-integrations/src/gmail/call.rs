//! One request and its answer, over whatever HTTP service the client was given: bounded in time, in
//! bytes and in number.

use std::{error::Error, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, header};
use livos_core::{
    backoff::Backoff,
    http::{BoxError, HttpClient, ResponseBody},
};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::{ConsentNeeded, GmailConfig, GmailError, GmailErrorKind};

/// The longest answer that is not mail, in bytes. 8 MiB: a page of 500 records with some messages
/// each has some hundred KiB.
pub(super) const MAX_ANSWER: usize = 8 << 20;
/// The most of an error's body that is read, in bytes.
const MAX_ERROR: usize = 64 << 10;

type TokenDeath = Arc<dyn Fn(&(dyn Error + 'static)) -> bool + Send + Sync>;

/// Sends requests to Gmail.
#[derive(Clone)]
pub(super) struct Caller {
    pub config: Arc<GmailConfig>,
    http: HttpClient,
    token_death: Option<TokenDeath>,
    slots: Arc<Semaphore>,
}

/// What is asked.
pub(super) struct Call {
    /// In words, for errors.
    pub operation: &'static str,
    pub method: Method,
    /// Below `/gmail/v1/users/me/`, with its query.
    pub path: String,
    pub body: Option<Vec<u8>>,
    /// The longest answer.
    pub most: usize,
    /// Whether a call that may have been done can be done again.
    pub repeatable: bool,
    /// Whether the beginning of an answer that is too long is worth something.
    pub start_is_enough: bool,
}

/// An answer, of which the end may be missing because it was too long.
pub(super) struct Answer {
    pub body: Bytes,
    pub is_whole: bool,
}

impl Call {
    pub fn get(operation: &'static str, path: impl Into<String>) -> Self {
        Self {
            operation,
            method: Method::GET,
            path: path.into(),
            body: None,
            most: MAX_ANSWER,
            repeatable: true,
            start_is_enough: false,
        }
    }

    pub fn post(operation: &'static str, path: impl Into<String>, body: &serde_json::Value) -> Self {
        Self { method: Method::POST, body: Some(body.to_string().into_bytes()), ..Self::get(operation, path) }
    }

    pub fn at_most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    pub fn once(mut self) -> Self {
        self.repeatable = false;
        self
    }

    pub fn or_its_start(mut self) -> Self {
        self.start_is_enough = true;
        self
    }
}

impl Caller {
    pub fn new(config: GmailConfig, http: HttpClient) -> Self {
        let slots = Arc::new(Semaphore::new(config.parallel));
        Self { config: Arc::new(config), http, token_death: None, slots }
    }

    pub fn set_token_death(&mut self, recognise: TokenDeath) {
        self.token_death = Some(recognise);
    }

    /// The answer as JSON.
    pub async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, GmailError> {
        let operation = call.operation;
        let body = self.bytes(call).await?;
        self.parse(operation, &body)
    }

    /// An answer that was read, as JSON.
    pub fn parse<T: DeserializeOwned>(&self, operation: &'static str, body: &[u8]) -> Result<T, GmailError> {
        serde_json::from_slice(body).map_err(|error| {
            GmailError::new(operation, GmailErrorKind::Unreadable, "").caused_by(error.into())
        })
    }

    /// The answer, tried again where that may help and can do no harm.
    pub async fn bytes(&self, call: Call) -> Result<Bytes, GmailError> {
        self.answer(call).await.map(|answer| answer.body)
    }

    /// The answer, or its beginning if [`Call::start_is_enough`].
    pub async fn answer(&self, call: Call) -> Result<Answer, GmailError> {
        let mut tries = 0;
        loop {
            let error = match self.once(&call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            tries += 1;
            let harmless = error.kind() == GmailErrorKind::RateLimited
                || error.kind() == GmailErrorKind::Unavailable && call.repeatable;
            let backoff = Backoff::delay_of(self.config.backoff, tries, random());
            let wait = error.retry_after().unwrap_or_default().max(backoff);
            if !harmless || tries > self.config.retries || wait > self.config.longest_wait {
                return Err(error);
            }
            tracing::debug!(operation = call.operation, %error, ?wait, "gmail is asked again");
            tokio::time::sleep(wait).await;
        }
    }

    async fn once(&self, call: &Call) -> Result<Answer, GmailError> {
        let _slot = self.slots.acquire().await;
        let limit = self.config.timeout;
        let answered = tokio::time::timeout(limit, self.exchange(call)).await;
        answered.unwrap_or_else(|_| Err(mute(call.operation, limit)))
    }

    async fn exchange(&self, call: &Call) -> Result<Answer, GmailError> {
        let response = self.http.send(self.request(call)?).await;
        let response = response.map_err(|error| self.failed(call.operation, error))?;
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return match read(body, call.most).await {
                Ok(answer) if answer.is_whole || call.start_is_enough => Ok(answer),
                Ok(_) => Err(GmailError::new(call.operation, GmailErrorKind::TooLarge, "")),
                Err(error) => Err(self.failed(call.operation, error)),
            };
        }
        // A body that is too long or breaks off is no worse than none.
        let body = body.read(MAX_ERROR).await.unwrap_or_default();
        Err(GmailError::answered(call.operation, head.status, &head.headers, &body))
    }

    fn request(&self, call: &Call) -> Result<Request<Bytes>, GmailError> {
        let base = self.config.base_url.to_string();
        let address = format!("{}/gmail/v1/users/me/{}", base.trim_end_matches('/'), call.path);
        let request =
            Request::builder().method(&call.method).uri(address).header(header::ACCEPT, "application/json");
        let request = match &call.body {
            Some(_) => request.header(header::CONTENT_TYPE, "application/json"),
            None => request,
        };
        let body = Bytes::from(call.body.clone().unwrap_or_default());
        request.body(body).map_err(|error| {
            GmailError::new(call.operation, GmailErrorKind::Rejected, "the request can't be built")
                .caused_by(error.into())
        })
    }

    /// The service below failed: because the grant is gone, where its error says so.
    fn failed(&self, operation: &'static str, error: BoxError) -> GmailError {
        let (mut dead, mut cause) = (false, Some(&*error as &(dyn Error + 'static)));
        while let Some(one) = cause.filter(|_| !dead) {
            dead = one.is::<ConsentNeeded>() || self.token_death.as_ref().is_some_and(|knows| knows(one));
            cause = one.source();
        }
        let kind = if dead { GmailErrorKind::TokenDead } else { GmailErrorKind::Unavailable };
        GmailError::new(operation, kind, "").caused_by(error)
    }
}

/// A body, or its start if it is longer than this.
async fn read(mut body: ResponseBody, most: usize) -> Result<Answer, BoxError> {
    let mut start = BytesMut::new();
    while let Some(piece) = body.next().await {
        let piece = piece?;
        if start.len() + piece.len() > most {
            return Ok(Answer { body: start.freeze(), is_whole: false });
        }
        start.extend_from_slice(&piece);
    }
    Ok(Answer { body: start.freeze(), is_whole: true })
}

fn mute(operation: &'static str, limit: Duration) -> GmailError {
    let reason = format!("no answer within {} s", limit.as_secs_f32());
    GmailError::new(operation, GmailErrorKind::Unavailable, reason)
}

/// For jitter and for names that no two things may share; nobody needs to be kept from guessing it.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// A query, with everything but unreserved characters encoded.
pub(super) fn query<'a>(path: &str, pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut path = path.to_owned();
    for (n, (name, value)) in pairs.into_iter().enumerate() {
        path.push(if n == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        for byte in value.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
                _ => path.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_can_hold_anything() {
        let path = query("messages", [("q", "from:ä &x=1#".to_owned()), ("most", "5".to_owned())]);
        assert_eq!(path, "messages?q=from%3A%C3%A4%20%26x%3D1%23&most=5");
    }
}
