//! A twin of Cartesia's streaming text to speech.
//!
//! | route | messages of the client | messages of the twin |
//! | --- | --- | --- |
//! | `GET /tts/websocket` | generation requests (`continue`, `flush`), `cancel` | `chunk`, `timestamps`, `flush_done`, `done`, `error` |
//!
//! - **Handshake**: `Authorization: Bearer`, `X-API-Key`, `api_key` or `access_token`; the version by `Cartesia-Version` or `cartesia_version`,
//!   the query winning; 401 without a key, 400 without a version.
//! - **Contexts**: inputs join verbatim and run in order; all fields but the transcript, `continue` and `flush` must stay the same (400). A context
//!   ends by `continue: false`, or one second after its last audio. `cancel` drops what has not begun; what runs goes on to its end.
//! - **Buffering**: `max_buffer_delay_ms`, three seconds where it is absent; a sentence's end, eight words, `flush` or the end of input ends it.
//! - **Audio**: `pcm_s16le` at 8 to 48 kHz, in chunks of 20 to 120 ms, by [`Voice`]; words are placed just before the chunk they begin in.
//! - **Limits**: [`Config::max_contexts`] at one time (429 event), 5 minutes without a message close the socket with 1000.
//! - **Errors**: structured from version 2026-03-01 on, a sentence before; one that belongs to no context has no `context_id`.
//! - **Faults**: those of [`crate::fault`]; [`Cartesia::fail`] fails generations; the knobs of [`Config`].

mod context;
mod session;
#[cfg(test)]
mod tests;
mod voice;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};

pub use self::voice::Voice;
use crate::{
    connection::{Connection, Host, lock},
    fault::{Fault, Refusal, Target},
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
    /// The only key that is let in; any non-empty key where `None`.
    pub api_key: Option<String>,
    /// Contexts at one time; more get a 429 event. 15 is the Scale plan.
    pub max_contexts: usize,
    /// The socket is closed after this long without a message.
    pub idle_timeout: Duration,
    /// A context ends this long after its last audio.
    pub context_expiry: Duration,
    /// How many times faster than it sounds audio comes; as fast as it can where `None`, and always in the zero profile.
    pub speed: Option<f64>,
    /// Whether `cancel` stops what is being spoken, too.
    pub cancel_stops: bool,
    /// Whether chunks may end in the middle of a sample.
    pub odd_chunks: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            voice: Voice::Tones,
            api_key: None,
            max_contexts: 15,
            idle_timeout: Duration::from_secs(300),
            context_expiry: Duration::from_secs(1),
            speed: Some(8.0),
            cancel_stops: false,
            odd_chunks: false,
        }
    }
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Connections open now.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Characters of all transcripts: the bill.
    pub billed_characters: u64,
    /// Each context and the text it was given, joined verbatim; the last 1000.
    pub transcripts: Vec<(String, String)>,
}

/// Contexts that [`Stats`] remembers one by one.
const REMEMBERED: usize = 1000;

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
    characters: u64,
    transcripts: VecDeque<(String, String)>,
    failures: VecDeque<u16>,
}

impl Cartesia {
    /// A provider that behaves as configured.
    pub fn new(config: Config) -> Self {
        let host = Host::new("cartesia", config.seed, config.profile.latency());
        Self(Arc::new(Inner { host, config, ledger: Mutex::default() }))
    }

    /// Serves one connection until it ends.
    pub async fn serve<I: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&self, io: I) {
        serve::serve(self.clone(), io).await;
    }

    /// A new in-memory connection. Must be called inside a tokio runtime.
    pub fn connect(&self) -> DuplexStream {
        serve::connect(self)
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let ledger = lock(&self.0.ledger);
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            billed_characters: ledger.characters,
            transcripts: ledger.transcripts.iter().cloned().collect(),
        }
    }

    /// Makes something go wrong on the connections that are open now.
    pub fn inject(&self, fault: Fault) {
        self.0.host.inject(fault);
    }

    /// Makes something go wrong on some connections.
    pub fn inject_into(&self, target: Target, fault: Fault) {
        self.0.host.inject_into(target, fault);
    }

    /// Refuses the next `count` handshakes.
    pub fn refuse(&self, count: u32, refusal: Refusal) {
        self.0.host.refuse(count, refusal);
    }

    /// Answers the next `count` requests with an error event of this status.
    pub fn fail(&self, count: usize, status: u16) {
        lock(&self.0.ledger).failures.extend(std::iter::repeat_n(status, count));
    }

    /// Cuts every connection abruptly; answers how many there were.
    pub fn kill_connections(&self) -> usize {
        self.0.host.kill_connections()
    }

    fn next_failure(&self) -> Option<u16> {
        lock(&self.0.ledger).failures.pop_front()
    }

    /// Books an input of a context.
    fn book(&self, context: &str, transcript: &str) {
        let mut ledger = lock(&self.0.ledger);
        ledger.characters += transcript.chars().count() as u64;
        match ledger.transcripts.iter_mut().rev().find(|(id, _)| id == context) {
            Some((_, text)) => text.push_str(transcript),
            None => ledger.transcripts.push_back((context.to_owned(), transcript.to_owned())),
        }
        if ledger.transcripts.len() > REMEMBERED {
            ledger.transcripts.pop_front();
        }
    }
}

/// The first version with structured errors.
const STRUCTURED_ERRORS: &str = "2026-03-01";

impl Twin for Cartesia {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, mut request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        if request.uri().path() != "/tts/websocket" {
            return serve::json(StatusCode::NOT_FOUND, &json!({ "error": "Not found" }));
        }
        let query = request.uri().query().unwrap_or_default();
        let asked = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
        };
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        let bearer = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let key =
            asked("api_key").or(asked("access_token")).or(bearer).or(header("x-api-key")).unwrap_or_default();
        if key.is_empty() || self.0.config.api_key.as_deref().is_some_and(|known| known != key) {
            return serve::json(StatusCode::UNAUTHORIZED, &json!({ "error": "Invalid API key" }));
        }
        let version = asked("cartesia_version").or(header("cartesia-version")).map(str::to_owned);
        let Some(version) = version.filter(|version| version.len() == 10) else {
            return serve::json(StatusCode::BAD_REQUEST, &json!({ "error": "Cartesia-Version is required" }));
        };
        let structured = version.as_str() >= STRUCTURED_ERRORS;
        let (twin, random) = (self.clone(), connection.random());
        let mut response = serve::upgrade(&mut request, &connection, move |socket| {
            session::Session::new(twin, socket, random, structured).run()
        });
        if let Ok(id) = connection.random().uuid().to_string().parse() {
            response.headers_mut().insert("x-request-id", id);
        }
        response
    }

    fn refuse(&self, refusal: &Refusal) -> Response<Body> {
        let text = match refusal.status {
            401 => "Invalid API key",
            402 => "Credit limit reached",
            429 => "Too many connections",
            _ => "The service is unavailable",
        };
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        serve::json(status, &json!({ "error": text }))
    }

    fn figures(&self) -> serde_json::Value {
        let stats = self.stats();
        json!({
            "open_connections": stats.open_connections,
            "total_connections": stats.total_connections,
            "billed_characters": stats.billed_characters,
            "transcripts": stats.transcripts,
        })
    }
}
