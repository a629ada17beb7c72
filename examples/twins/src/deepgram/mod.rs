//! A twin of Deepgram's speech to text, live and recorded.
//!
//! | route | messages of the client | messages of the twin |
//! | --- | --- | --- |
//! | `GET /v1/listen` | audio, `KeepAlive`, `Finalize`, `CloseStream`, `Configure` | `Results`, `SpeechStarted`, `UtteranceEnd`, `Metadata`, `ConfigureSuccess`, `ConfigureFailure` |
//! | `GET /v2/listen` (Flux) | audio, `Configure`, `ForceEndTurn`, `CloseStream` | `Connected`, `TurnInfo`, `ConfigureSuccess`, `ConfigureFailure`, `Error` |
//! | `POST /v1/listen` | a recording | its transcript |
//!
//! - **Handshake**: `Authorization: Token` or `Bearer`, or `Sec-WebSocket-Protocol: token, KEY`;
//!   every answer has `dg-request-id`, a refusal also `dg-error` and a JSON body: 400 for a
//!   parameter, 401 for a key, 404, 429 above [`Config::max_streams`].
//! - **Clock**: seconds of audio received on the connection; that is also the bill
//!   ([`Stats::billed_audio_seconds`]).
//! - **Hearing**: energy decides when someone speaks, [`Hearing`] decides which words. Linear PCM
//!   only; the first audio in another encoding closes with 1008, DATA-0000. Several channels are
//!   mixed; `multichannel` is refused.
//! - **Recordings**: WAV with 16-bit samples, and Ogg with Opus where Debian's opus-tools are
//!   installed; anything else is 400, as damaged audio is. Ten minutes and 20 MiB at most. They
//!   count as streams of their own.
//! - **Limits**: audio is taken at most 1.25 times as fast as it sounds, after a second's
//!   allowance; messages up to 1 MiB.
//! - **Timeouts**: v1 closes with 1011, NET-0001 after 10 s with neither audio nor text, and 10 s
//!   after opening where no audio came, whatever text did. Flux closes after 25 s without audio,
//!   message or ping.
//! - **Endpointing** shorter than 150 ms is taken for 150 ms, because energy alone cannot tell a
//!   shorter pause from a consonant.
//! - **Faults**: those of [`crate::fault`]; [`Finalize`] modes; the knobs of [`Config`].

mod ear;
mod flux;
mod hearing;
mod intake;
mod listen;
mod query;
mod recorded;
mod sphinx;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use serde_json::json;
use uuid::Uuid;

use self::{hearing::Ears, query::Query};
pub use self::{
    hearing::Hearing,
    sphinx::{Sphinx, SphinxError},
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
    /// How words are found in speech.
    pub hearing: Hearing,
    /// The only key that is let in; any non-empty key where `None`.
    pub api_key: Option<String>,
    /// Streams at once; more are refused with 429. Fifty is what pay-as-you-go projects get.
    pub max_streams: usize,
    /// After this long without audio or text, a v1 stream is closed with NET-0001.
    pub idle_timeout: Duration,
    /// Whether `KeepAlive` holds a v1 stream that never had audio. The documentation says both;
    /// `false` is the stricter reading.
    pub keep_alive_holds_virgin: bool,
    /// How many times faster than it sounds audio is taken; at any rate where `None`.
    pub intake_cap: Option<f64>,
    /// How `Finalize` is answered.
    pub finalize: Finalize,
    /// Seconds of audio between interim results of v1.
    pub interim_every: f64,
    /// Seconds of audio after which a span of v1 becomes final though the utterance goes on.
    pub final_every: f64,
    /// Whether v1 closes with 1008 on text that it does not understand; ignored otherwise.
    pub strict_text: bool,
    /// The code with which v1 closes after an empty binary message.
    pub empty_audio_close: u16,
    /// After this long without audio, message or ping, a Flux stream is closed.
    pub flux_idle_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            hearing: Hearing::Tones,
            api_key: None,
            max_streams: 50,
            idle_timeout: Duration::from_secs(10),
            keep_alive_holds_virgin: false,
            intake_cap: Some(1.25),
            finalize: Finalize::Answer,
            interim_every: 1.0,
            final_every: 4.0,
            strict_text: false,
            empty_audio_close: 1000,
            flux_idle_timeout: Duration::from_secs(25),
        }
    }
}

/// How `Finalize` is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finalize {
    /// With the words that were not final yet.
    #[default]
    Answer,
    /// The words come in an ordinary final; the answer itself is empty.
    Empty,
    /// Not at all; the words stay where they are.
    Nothing,
    /// Like `Answer`, this much later.
    Late(Duration),
}

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Connections open now, with or without a stream on them.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Streams open now.
    pub open_streams: usize,
    /// Seconds of audio received on all streams: the bill.
    pub billed_audio_seconds: f64,
    /// The streams in the order in which they opened; the last 1000.
    pub streams: Vec<StreamStats>,
}

/// What the twin saw on one stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StreamStats {
    /// The id that the handshake's `dg-request-id` told.
    pub request_id: String,
    /// `/v1/listen` or `/v2/listen`.
    pub route: &'static str,
    /// Seconds of audio received.
    pub audio_seconds: f64,
    /// Binary messages received.
    pub audio_messages: u64,
    /// `KeepAlive` messages received.
    pub keep_alives: u64,
    /// `Finalize` or `ForceEndTurn` messages received.
    pub finalizes: u64,
    /// Whether it is open.
    pub open: bool,
}

/// Streams that [`Stats`] remembers one by one.
const REMEMBERED_STREAMS: usize = 1000;

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Deepgram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    ears: Ears,
    finalize: Mutex<Finalize>,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Default)]
struct Ledger {
    opened: u64,
    open: usize,
    billed: f64,
    streams: BTreeMap<u64, StreamStats>,
}

impl Deepgram {
    /// A provider that behaves as configured.
    pub fn new(config: Config) -> Self {
        let host = Host::new("deepgram", config.seed, config.profile.latency());
        let ears = Ears::from(config.hearing.clone());
        let finalize = Mutex::new(config.finalize);
        Self(Arc::new(Inner { host, config, ears, finalize, ledger: Mutex::default() }))
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let ledger = lock(&self.0.ledger);
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            open_streams: ledger.open,
            billed_audio_seconds: ledger.billed,
            streams: ledger.streams.values().cloned().collect(),
        }
    }

    /// Changes how `Finalize` is answered from now on.
    pub fn answer_finalize(&self, how: Finalize) {
        *lock(&self.0.finalize) = how;
    }

    fn stream(&self, request_id: Uuid, route: &'static str) -> Option<Meter> {
        let mut ledger = lock(&self.0.ledger);
        if ledger.open >= self.0.config.max_streams {
            return None;
        }
        ledger.open += 1;
        ledger.opened += 1;
        let stream = ledger.opened;
        let stats =
            StreamStats { request_id: request_id.to_string(), route, open: true, ..StreamStats::default() };
        ledger.streams.insert(stream, stats);
        if ledger.streams.len() > REMEMBERED_STREAMS {
            ledger.streams.pop_first();
        }
        Some(Meter { twin: self.clone(), stream, request_id })
    }

    fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let named = text(header::AUTHORIZATION).and_then(|value| value.split_once(' '));
        let listed = text(header::SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.split_once(','));
        let Some((scheme, key)) = named.or(listed) else { return false };
        let known = ["token", "bearer"].iter().any(|name| scheme.trim().eq_ignore_ascii_case(name));
        let key = key.trim();
        known && !key.is_empty() && self.0.config.api_key.as_deref().is_none_or(|required| required == key)
    }

    fn accept(
        &self,
        request: &mut Request<Incoming>,
        connection: &Arc<Connection>,
        request_id: Uuid,
    ) -> Response<Body> {
        if !self.admits(request.headers()) {
            return error(request_id, StatusCode::UNAUTHORIZED, "INVALID_AUTH", "Invalid credentials.");
        }
        let query = Query::parse(request.uri().query().unwrap_or_default());
        let bad =
            |message: &str| error(request_id, StatusCode::BAD_REQUEST, "INVALID_QUERY_PARAMETER", message);
        let full = || {
            let message = "Too many requests. Please try again later";
            error(request_id, StatusCode::TOO_MANY_REQUESTS, "TOO_MANY_REQUESTS", message)
        };
        let random = connection.random();
        match request.uri().path() {
            "/v1/listen" => {
                let asked = match query.listen() {
                    Ok(asked) => asked,
                    Err(invalid) => return bad(&invalid),
                };
                let Some(meter) = self.stream(request_id, "/v1/listen") else { return full() };
                serve::upgrade(request, connection, move |socket| {
                    listen::Session::new(socket, meter, asked, random).run()
                })
            }
            "/v2/listen" => {
                let asked = match query.flux() {
                    Ok(asked) => asked,
                    Err(invalid) => return bad(&invalid),
                };
                let Some(meter) = self.stream(request_id, "/v2/listen") else { return full() };
                serve::upgrade(request, connection, move |socket| {
                    flux::Session::new(socket, meter, asked, random).run()
                })
            }
            _ => error(request_id, StatusCode::NOT_FOUND, "NOT_FOUND", "Not found."),
        }
    }
}

impl Twin for Deepgram {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, mut request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        let request_id = connection.random().uuid();
        let by_protocol = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL).cloned();
        let mut response = if request.method() == Method::POST {
            recorded::answer(self, request, &connection, request_id).await
        } else {
            self.accept(&mut request, &connection, request_id)
        };
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&request_id.to_string()) {
            headers.insert("dg-request-id", id);
        }
        // A browser that offered sub-protocols fails unless one of them is chosen.
        if let Some(first) = by_protocol.as_ref().and_then(|offered| offered.to_str().ok()?.split(',').next())
            && let Ok(first) = HeaderValue::from_str(first.trim())
        {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, first);
        }
        response
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        let (code, message) = match refusal.status {
            400 => ("Bad Request", "Bad Request"),
            401 => ("INVALID_AUTH", "Invalid credentials."),
            402 => ("ASR_PAYMENT_REQUIRED", "Project does not have enough credits."),
            403 => ("INSUFFICIENT_PERMISSIONS", "User does not have sufficient permissions."),
            429 => ("TOO_MANY_REQUESTS", "Too many requests. Please try again later"),
            _ => ("SERVICE_UNAVAILABLE", "The service is unavailable."),
        };
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        // Refusals are rare and scripted, so their ids need not be random.
        error(
            Uuid::from_u64_pair(0x4000, 0x8000_0000_0000_0000 | u64::from(refusal.status)),
            status,
            code,
            message,
        )
    }

    fn figures(&self) -> serde_json::Value {
        let stats = self.stats();
        let streams = stats.streams.iter().map(|stream| {
            json!({
                "request_id": stream.request_id,
                "route": stream.route,
                "audio_seconds": stream.audio_seconds,
                "audio_messages": stream.audio_messages,
                "keep_alives": stream.keep_alives,
                "finalizes": stream.finalizes,
                "open": stream.open,
            })
        });
        json!({
            "open_connections": stats.open_connections,
            "total_connections": stats.total_connections,
            "open_streams": stats.open_streams,
            "billed_audio_seconds": stats.billed_audio_seconds,
            "streams": streams.collect::<Vec<_>>(),
        })
    }
}

fn error(request_id: Uuid, status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let id = request_id.to_string();
    let body = json!({"err_code": code, "err_msg": message, "request_id": id});
    let mut response = serve::json(status, &body);
    for (name, value) in [("dg-error", message), ("dg-request-id", id.as_str())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// Counts what one stream receives; dropping it ends the stream in the figures.
#[derive(Debug)]
struct Meter {
    twin: Deepgram,
    stream: u64,
    request_id: Uuid,
}

impl Meter {
    fn config(&self) -> &Config {
        &self.twin.0.config
    }

    fn audio(&self, seconds: f64) {
        lock(&self.twin.0.ledger).billed += seconds;
        self.count(|stream| {
            stream.audio_seconds += seconds;
            stream.audio_messages += 1;
        });
    }

    fn count(&self, change: impl FnOnce(&mut StreamStats)) {
        if let Some(stream) = lock(&self.twin.0.ledger).streams.get_mut(&self.stream) {
            change(stream);
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        lock(&self.twin.0.ledger).open -= 1;
        self.count(|stream| stream.open = false);
    }
}

#[cfg(test)]
mod tests;
