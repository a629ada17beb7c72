//! A twin of Anthropic's Messages API.
//!
//! | route | what it answers |
//! | --- | --- |
//! | `POST /v1/messages` | a message, whole or as server-sent events |
//! | `POST /v1/messages/count_tokens` | `{"input_tokens": n}` |
//!
//! - **Headers**: `x-api-key` or `Authorization: Bearer` (401), `anthropic-version` (400); every
//!   answer has `request-id`.
//! - **Checks**, with the provider's texts where they are known: required fields, roles, blank
//!   text, tool results paired with tool uses, a final assistant message, `thinking` and sampling
//!   for models that refuse them, four cache marks at the most.
//! - **Stream**: `message_start`, `ping`, blocks of thinking, of text or of tool use with split
//!   JSON, `message_delta` with cumulative usage, `message_stop`.
//! - **Thinking** where the request asks for it, and where a model does it unasked: a summary, or a
//!   silent pause, with its signature.
//! - **Cache**: prefixes at `cache_control` marks, found up to 20 blocks before a mark, readable
//!   once the answer that wrote them has begun, for five minutes or an hour after their last use;
//!   nothing below the model's minimum. Figures are in `usage`.
//! - **`max_tokens: 0`** fills the cache and answers nothing.
//! - **Faults**: those of [`crate::fault`] (a stall, a cut, garbage); [`Anthropic::refuse`] for
//!   429, 500, 529 with headers; [`Anthropic::break_next`] for an `error` event in the middle, an
//!   end without `message_stop`, or a refusal; the knobs of [`Config`].

mod brain;
mod check;
mod stream;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

pub use self::brain::{Brain, Said};
use self::check::Input;
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
    /// What it answers.
    pub brain: Brain,
    /// The only key that is let in; any non-empty key where `None`.
    pub api_key: Option<String>,
    /// Tokens a second once the answer has begun; the zero profile does not wait at all.
    pub tokens_per_second: f64,
    /// Whether events are cut anywhere, inside characters too, when they are written.
    pub ragged: bool,
    /// Whether lines of events end with CR LF.
    pub crlf: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            brain: Brain::Rules,
            api_key: None,
            tokens_per_second: 80.0,
            ragged: false,
            crlf: false,
        }
    }
}

/// How an answer breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Break {
    /// An `error` event (`overloaded_error`) after the first words.
    Error,
    /// The stream ends after the first words, without `message_stop`.
    Cut,
    /// Nothing comes after the first words, and the stream stays open.
    Mute,
    /// The model declines.
    Refusal,
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Connections open now.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Requests for messages.
    pub requests: u64,
    /// Answers that the client did not read to their end, and the tokens they had come to.
    pub aborted: u64,
    /// Tokens of aborted answers.
    pub aborted_tokens: u64,
    /// Tokens read, written to the cache, read from it, and generated: the bill.
    pub input_tokens: u64,
    /// See `input_tokens`.
    pub cache_write_tokens: u64,
    /// See `input_tokens`.
    pub cache_read_tokens: u64,
    /// See `input_tokens`.
    pub output_tokens: u64,
}

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Anthropic(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    stats: Stats,
    breaks: VecDeque<Break>,
    said: usize,
    /// Requests of every kind, for their ids.
    received: u64,
    /// Hashes of cached prefixes, when they expire unless they are used, and how long a use keeps
    /// them.
    cache: HashMap<u64, (Instant, Duration)>,
}

/// The largest body. The provider takes 32 MB; a conversation is far smaller.
const MAX_BODY: usize = 4 << 20;

impl Anthropic {
    /// A provider that behaves as configured.
    pub fn new(config: Config) -> Self {
        let host = Host::new("anthropic", config.seed, config.profile.latency());
        Self(Arc::new(Inner { host, config, ledger: Mutex::default() }))
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let stats = lock(&self.0.ledger).stats.clone();
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            ..stats
        }
    }

    /// Breaks the next answer.
    pub fn break_next(&self, how: Break) {
        lock(&self.0.ledger).breaks.push_back(how);
    }

    async fn message(&self, request: &Value, connection: Arc<Connection>) -> Response<Body> {
        if let Err(why) = check::messages(request, true) {
            return error(StatusCode::BAD_REQUEST, "invalid_request_error", &why);
        }
        let input = self.look_up(request);
        let (said, how) = {
            let mut ledger = lock(&self.0.ledger);
            ledger.stats.requests += 1;
            ledger.said += 1;
            let (said, how) = (ledger.said - 1, ledger.breaks.pop_front());
            (self.0.config.brain.answer(request, said), how)
        };
        let answer = stream::Answer::new(self.clone(), request, input, said, how, &connection);
        if request["stream"].as_bool() == Some(true) {
            let mut response = Response::new(answer.into_body(connection));
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            return response;
        }
        answer.into_json().await
    }

    /// Where the tokens of a request are billed, by what the cache holds now.
    fn look_up(&self, request: &Value) -> Input {
        let minimum = check::cache_minimum(request["model"].as_str().unwrap_or_default());
        let now = Instant::now();
        let mut ledger = lock(&self.0.ledger);
        ledger.cache.retain(|_, (expires, _)| *expires > now);
        let input = check::Prompt::of(request).bill(minimum, |hash| ledger.cache.contains_key(&hash));
        if let Some((expires, lifetime)) = input.hit.and_then(|hit| ledger.cache.get_mut(&hit)) {
            *expires = now + *lifetime;
        }
        input
    }

    /// An answer begins: what its request wrote can be read from now on.
    fn begin(&self, input: &Input) {
        let now = Instant::now();
        let cache = &mut lock(&self.0.ledger).cache;
        cache.extend(input.entries.iter().map(|(hash, lifetime)| (*hash, (now + *lifetime, *lifetime))));
    }

    fn book(&self, input: &Input, output: u64, whole: bool) {
        let stats = &mut lock(&self.0.ledger).stats;
        stats.input_tokens += input.fresh;
        stats.cache_write_tokens += input.written + input.written_for_long;
        stats.cache_read_tokens += input.read;
        stats.output_tokens += output;
        if !whole {
            stats.aborted += 1;
            stats.aborted_tokens += output;
        }
    }

    fn admits(&self, request: &Request<Incoming>) -> bool {
        let text = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key = text("x-api-key").or(bearer).unwrap_or_default();
        !key.is_empty() && self.0.config.api_key.as_deref().is_none_or(|known| known == key)
    }
}

impl Twin for Anthropic {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let response = self.answer(request, connection).await;
        self.label(response)
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        let (kind, message) = match refusal.status {
            400 => ("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            401 => ("authentication_error", "invalid x-api-key"),
            403 => {
                ("permission_error", "Your API key does not have permission to use the specified resource.")
            }
            404 => ("not_found_error", "model not found"),
            413 => ("request_too_large", "Request exceeds the maximum size"),
            429 => ("rate_limit_error", "This request would exceed your account's rate limit."),
            529 => ("overloaded_error", "Overloaded"),
            504 => ("timeout_error", "Request timed out"),
            _ => ("api_error", "Internal server error"),
        };
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.label(error(status, kind, message))
    }

    fn figures(&self) -> Value {
        let stats = self.stats();
        json!({
            "open_connections": stats.open_connections, "total_connections": stats.total_connections, "requests": stats.requests,
            "aborted": stats.aborted, "aborted_tokens": stats.aborted_tokens, "input_tokens": stats.input_tokens,
            "cache_write_tokens": stats.cache_write_tokens, "cache_read_tokens": stats.cache_read_tokens,
            "output_tokens": stats.output_tokens,
        })
    }
}

/// An error on its way out, before it has the id of its request.
#[derive(Debug, Clone)]
struct Failure {
    kind: String,
    message: String,
}

impl Anthropic {
    /// Adds the headers that every answer has; an error names its request in the body too.
    fn label(&self, mut response: Response<Body>) -> Response<Body> {
        let received = {
            let mut ledger = lock(&self.0.ledger);
            ledger.received += 1;
            ledger.received
        };
        let id = format!("req_{}", Random::derive(self.0.config.seed, "request", received).uuid().simple());
        if let Some(Failure { kind, message }) = response.extensions_mut().remove() {
            let body =
                json!({ "type": "error", "error": { "type": kind, "message": message }, "request_id": id });
            response = serve::json(response.status(), &body);
        }
        let headers = response.headers_mut();
        for (unit, limit) in
            [("requests", 1_000), ("tokens", 500_000), ("input-tokens", 400_000), ("output-tokens", 80_000)]
        {
            let figures = [
                ("limit", limit.to_string()),
                ("remaining", (limit - 1).to_string()),
                // In the past, as for a bucket that is full.
                ("reset", "2026-01-01T00:00:00Z".to_owned()),
            ];
            for (figure, value) in figures {
                insert(headers, &format!("anthropic-ratelimit-{unit}-{figure}"), &value);
            }
        }
        insert(headers, "anthropic-organization-id", "00000000-0000-4000-8000-000000000000");
        insert(headers, "request-id", &id);
        response
    }

    async fn answer(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if !(path == "/v1/messages" || path == "/v1/messages/count_tokens") {
            return error(StatusCode::NOT_FOUND, "not_found_error", "Not Found");
        }
        if request.method() != http::Method::POST {
            return error(StatusCode::METHOD_NOT_ALLOWED, "invalid_request_error", "Method Not Allowed");
        }
        if !self.admits(&request) {
            return error(StatusCode::UNAUTHORIZED, "authentication_error", "invalid x-api-key");
        }
        if !request.headers().contains_key("anthropic-version") {
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "anthropic-version: header is required",
            );
        }
        let body = match Limited::new(request.into_body(), MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(_) => {
                return error(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "request_too_large",
                    "Request exceeds the maximum size",
                );
            }
        };
        let Ok(request) = serde_json::from_slice::<Value>(&body) else {
            return error(
                StatusCode::BAD_REQUEST,
                "invalid_request_error",
                "The request body is not valid JSON",
            );
        };
        if path == "/v1/messages" {
            return self.message(&request, connection).await;
        }
        match check::messages(&request, false) {
            Ok(()) => {
                serve::json(StatusCode::OK, &json!({ "input_tokens": check::Prompt::of(&request).tokens() }))
            }
            Err(why) => error(StatusCode::BAD_REQUEST, "invalid_request_error", &why),
        }
    }
}

fn insert(headers: &mut HeaderMap, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
        headers.insert(name, value);
    }
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response<Body> {
    let mut response = serve::json(status, &Value::Null);
    response.extensions_mut().insert(Failure { kind: kind.to_owned(), message: message.to_owned() });
    response
}
