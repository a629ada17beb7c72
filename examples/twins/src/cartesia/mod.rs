//! A twin of Cartesia's streaming speech.
//!
//! | route | messages of the client | messages of the twin |
//! | --- | --- | --- |
//! | `GET /tts/websocket` | generation (`continue`, `flush`), `cancel` | `chunk`, `timestamps`, `flush_done`, `done`, `error` |
//!
//! - **Handshake**: a version by `cartesia_version` or the header `Cartesia-Version` (the query
//!   wins), one of the five known ones, else 400. A key as `Authorization: Bearer`, `X-API-Key`,
//!   `api_key` or `access_token`, else 401. 429 above ten sockets for each context of
//!   [`Config::max_contexts`]. The answer has `X-Request-Id`.
//! - **Contexts** speak side by side, the inputs of one in order. Their inputs are joined verbatim
//!   ([`Stats::transcripts`]). A changed field, an unknown encoding or rate, or text for a context
//!   that is ending is an `error` event with 400 that ends the context.
//! - **Buffering**: `max_buffer_delay_ms` up to 5000, 3000 where absent. Zero speaks each input by
//!   itself and tells `flush_done`; otherwise speech begins at the end of a sentence, at eight
//!   words, at a flush, at the end, or when the delay is over.
//! - **Words** come just before the chunk that holds their beginning, in seconds from the first
//!   sample of the context.
//! - **Errors** are structured from version 2026-03-01 on, a line of text before. JSON that is none
//!   is an error without a context.
//! - **Limits**: contexts at once ([`Config::max_contexts`], else 429 `concurrency_limited`); 20
//!   000 characters waiting in a context; messages up to 1 MiB; `pcm_s16le` only.
//! - **Timeouts**: a context expires one second after its last audio; a socket closes after five
//!   minutes without messages.
//! - **Bill**: the characters whose generation began ([`Stats::billed_characters`]).
//! - **Faults**: those of [`crate::fault`]; [`Cartesia::fail`]; the knobs of [`Config`].

mod context;
mod flite;
mod request;
mod resample;
mod session;
mod voice;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;

use self::request::{Query, Version};
pub use self::{
    flite::{Flite, FliteError},
    voice::Voice,
};
use crate::{
    connection::{Connection, Host, lock},
    fault::Refusal,
    latency::Profile,
    serve::{self, Body, Twin},
};

/// How the twin behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// All randomness comes from it.
    pub seed: u64,
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// How text becomes sound.
    pub voice: Voice,
    /// The only key that is let in; any non-empty key or token where `None`.
    pub api_key: Option<String>,
    /// Contexts at once on all sockets; more are refused. Fifteen is what the Scale plan gets.
    pub max_contexts: usize,
    /// How fast audio is streamed out.
    pub pace: Pace,
    /// What a cancelled context does with the generation that is under way.
    pub cancel: Cancel,
    /// What becomes of text for a context that has expired.
    pub expired: Expired,
    /// A context expires this long after its last audio.
    pub context_expiry: Duration,
    /// A socket without messages is closed after this long.
    pub idle_timeout: Duration,
    /// The code with which it is closed.
    pub idle_close: u16,
    /// Whether chunks are cut in the middle of samples.
    pub odd_chunks: bool,
    /// Whether changed fields within a context are refused.
    pub strict_contexts: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            voice: Voice::Tones,
            api_key: None,
            max_contexts: 15,
            pace: Pace::Profile,
            cancel: Cancel::RunsOn,
            expired: Expired::Fresh,
            context_expiry: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(300),
            idle_close: 1000,
            odd_chunks: false,
            strict_contexts: true,
        }
    }
}

/// How fast audio is streamed out.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Pace {
    /// Eight times as fast as it sounds in [`Profile::Seed`], at once in [`Profile::Zero`].
    #[default]
    Profile,
    /// So many times as fast as it sounds.
    Times(f64),
    /// At once.
    Unlimited,
}

impl Config {
    fn speed(&self) -> Option<f64> {
        match (self.pace, self.profile) {
            (Pace::Times(times), _) => Some(times.max(0.01)),
            (Pace::Profile, Profile::Seed) => Some(8.0),
            (Pace::Profile, Profile::Zero) | (Pace::Unlimited, _) => None,
        }
    }
}

/// What a cancelled context does with the generation that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cancel {
    /// It is sent to its end, as the documentation says.
    #[default]
    RunsOn,
    /// It stops at once, as a comment of the SDK says.
    Stops,
}

/// What becomes of text for a context that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expired {
    /// A context of the same name begins again.
    #[default]
    Fresh,
    /// It is refused with 400.
    Refused,
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Connections open now, with or without a WebSocket on them.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Contexts that hold a slot now.
    pub active_contexts: usize,
    /// Characters whose generation began: the bill.
    pub billed_characters: u64,
    /// What was sent to each context, in the order in which they began; the last 1000.
    pub transcripts: Vec<Transcript>,
}

/// What was sent to one context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transcript {
    /// The connection, from 1.
    pub connection: u64,
    /// The client's name for it.
    pub context_id: String,
    /// All inputs, joined verbatim.
    pub text: String,
    /// Inputs so far, empty ones too.
    pub inputs: u64,
    /// Whether an input said that no more comes.
    pub finished: bool,
    /// Whether the client cancelled it.
    pub cancelled: bool,
}

/// Contexts that [`Stats`] remembers one by one.
const REMEMBERED: usize = 1000;
/// Sockets allowed for each context allowed.
const SOCKETS_PER_CONTEXT: usize = 10;

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Cartesia(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    sockets: usize,
    active: usize,
    begun: u64,
    billed: u64,
    transcripts: BTreeMap<u64, Transcript>,
    failures: VecDeque<(u32, u16)>,
}

impl Cartesia {
    /// A provider that behaves as configured.
    pub fn new(config: Config) -> Self {
        let host = Host::new("cartesia", config.seed, config.profile.latency());
        Self(Arc::new(Inner { host, config, ledger: Mutex::default() }))
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let ledger = lock(&self.0.ledger);
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            active_contexts: ledger.active,
            billed_characters: ledger.billed,
            transcripts: ledger.transcripts.values().cloned().collect(),
        }
    }

    /// Answers the next `count` generations with an `error` event of this status.
    pub fn fail(&self, count: u32, status: u16) {
        if count > 0 {
            lock(&self.0.ledger).failures.push_back((count, status));
        }
    }

    /// Takes the failure that is due for the next generation.
    fn next_failure(&self) -> Option<u16> {
        let mut ledger = lock(&self.0.ledger);
        let (left, status) = ledger.failures.front_mut()?;
        let status = *status;
        *left -= 1;
        if *left == 0 {
            ledger.failures.pop_front();
        }
        Some(status)
    }

    fn bill(&self, characters: u64) {
        lock(&self.0.ledger).billed += characters;
    }

    fn seat(&self) -> Option<Seat> {
        let mut ledger = lock(&self.0.ledger);
        if ledger.sockets >= self.0.config.max_contexts * SOCKETS_PER_CONTEXT {
            return None;
        }
        ledger.sockets += 1;
        Some(Seat(self.clone()))
    }

    fn slot(&self, connection: u64, context_id: &str) -> Option<Slot> {
        let mut ledger = lock(&self.0.ledger);
        if ledger.active >= self.0.config.max_contexts {
            return None;
        }
        ledger.active += 1;
        ledger.begun += 1;
        let number = ledger.begun;
        let transcript =
            Transcript { connection, context_id: context_id.to_owned(), ..Transcript::default() };
        ledger.transcripts.insert(number, transcript);
        if ledger.transcripts.len() > REMEMBERED {
            ledger.transcripts.pop_first();
        }
        Some(Slot { twin: self.clone(), number })
    }

    fn admits(&self, headers: &HeaderMap, query: &Query) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let bearer = text(header::AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
        });
        let key = bearer
            .or_else(|| text(header::HeaderName::from_static("x-api-key")))
            .or_else(|| query.first("api_key"))
            .or_else(|| query.first("access_token"));
        let required = self.0.config.api_key.as_deref();
        key.is_some_and(|key| !key.is_empty() && required.is_none_or(|required| required == key))
    }

    fn accept(
        &self,
        request: &mut Request<Incoming>,
        connection: &Arc<Connection>,
        request_id: &str,
    ) -> Response<Body> {
        if request.uri().path() != "/tts/websocket" {
            return error(request_id, StatusCode::NOT_FOUND);
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        if !self.admits(request.headers(), &query) {
            return error(request_id, StatusCode::UNAUTHORIZED);
        }
        let named = request.headers().get("cartesia-version").and_then(|value| value.to_str().ok());
        let Some(version) = query.first("cartesia_version").or(named).and_then(Version::parse) else {
            return error(request_id, StatusCode::BAD_REQUEST);
        };
        let Some(seat) = self.seat() else { return error(request_id, StatusCode::TOO_MANY_REQUESTS) };
        let twin = self.clone();
        let (random, id) = (connection.random(), request_id.to_owned());
        serve::upgrade(request, connection, move |socket| async move {
            session::Session::new(socket, twin, version, random, id).run().await;
            drop(seat);
        })
    }
}

impl Twin for Cartesia {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, mut request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let request_id = connection.random().uuid().to_string();
        let mut response = self.accept(&mut request, &connection, &request_id);
        if let Ok(id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        // Refusals are rare and scripted, so their ids need not be random.
        error("refused", StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE))
    }

    fn figures(&self) -> serde_json::Value {
        let stats = self.stats();
        let transcripts = stats.transcripts.iter().map(|transcript| {
            json!({
                "connection": transcript.connection,
                "context_id": transcript.context_id,
                "text": transcript.text,
                "inputs": transcript.inputs,
                "finished": transcript.finished,
                "cancelled": transcript.cancelled,
            })
        });
        json!({
            "open_connections": stats.open_connections,
            "total_connections": stats.total_connections,
            "active_contexts": stats.active_contexts,
            "billed_characters": stats.billed_characters,
            "transcripts": transcripts.collect::<Vec<_>>(),
        })
    }
}

/// Title, message and code of an error, the same in HTTP and in events.
fn describe(status: u16) -> (&'static str, &'static str, Option<&'static str>) {
    match status {
        400 => ("Bad request", "The request is not valid.", None),
        401 => ("Unauthorized", "The API key is not valid.", None),
        402 => ("Payment required", "The credits of the plan are used up.", None),
        403 => ("Forbidden", "The key does not allow this.", None),
        404 => ("Not found", "There is no such thing.", None),
        429 => (
            "Too many concurrent requests",
            "The plan's concurrency is exceeded.",
            Some("concurrency_limited"),
        ),
        _ => ("Internal error", "The service has a problem.", None),
    }
}

fn error(request_id: &str, status: StatusCode) -> Response<Body> {
    let (title, message, code) = describe(status.as_u16());
    let body = json!({"error_code": code, "title": title, "message": message, "request_id": request_id});
    serve::json(status, &body)
}

/// A socket in the figures, until it is dropped.
#[derive(Debug)]
struct Seat(Cartesia);

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.0.0.ledger).sockets -= 1;
    }
}

/// A context in the figures; dropping it frees its place.
#[derive(Debug)]
struct Slot {
    twin: Cartesia,
    number: u64,
}

impl Slot {
    fn note(&self, change: impl FnOnce(&mut Transcript)) {
        if let Some(transcript) = lock(&self.twin.0.ledger).transcripts.get_mut(&self.number) {
            change(transcript);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.twin.0.ledger).active -= 1;
    }
}

#[cfg(test)]
mod tests;
