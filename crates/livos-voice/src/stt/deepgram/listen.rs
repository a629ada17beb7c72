//! `/v1/listen`: the provider recognises, and local turn taking asks for the rest when speech ends.
//!
//! The socket opens with the session and is held by keep-alive messages, which carry no audio and
//! cost nothing; an hour of silence bills no second. See
//! [`Timing::opening_silence`](super::Timing::opening_silence) for providers that close a socket
//! which never carried audio.

use std::collections::VecDeque;

use http::Request;
use tokio_tungstenite::tungstenite;

use super::{
    config::{Config, ConfigError, ListenConfig},
    dialect::{Dialect, Heard, transcript, words},
    replay::Replay,
    session, wire,
};
use crate::{
    connect::Connector,
    stt::{Driver, SpeechToText, SttEvent, SttSession, TranscriptKind},
};

/// A client of `/v1/listen`.
#[derive(Debug, Clone)]
pub struct Listen {
    config: Config,
    request: Request<()>,
    connector: Connector,
}

impl Listen {
    /// A client with this configuration, or what is wrong with it. Connects when a session opens.
    pub fn new(config: Config, listen: &ListenConfig, connector: Connector) -> Result<Self, ConfigError> {
        let request = config.listen_request(listen)?;
        Ok(Self { config, request, connector })
    }
}

impl SpeechToText for Listen {
    fn open(&self) -> (SttSession, Driver) {
        session::open(&self.config, &self.request, &self.connector, Nova)
    }
}

struct Nova;

impl Dialect for Nova {
    const READY_ON_OPEN: bool = true;
    const LEAST: u64 = 0;

    fn keep_alive(&self) -> tungstenite::Message {
        tungstenite::Message::text(wire::KEEP_ALIVE)
    }

    fn question(&self) -> &'static str {
        wire::FINALIZE
    }

    fn trailing_silence(&self) -> u64 {
        0
    }

    fn padding(&self) -> Option<(std::time::Duration, u64)> {
        None
    }

    fn reopened(&mut self, _out: &mut VecDeque<Heard>) {}

    fn heard(&mut self, message: wire::Message, replay: &mut Replay, out: &mut VecDeque<Heard>) {
        match message {
            wire::Message::Results(results) => heard_results(results, replay, out),
            wire::Message::Metadata(metadata) => {
                tracing::debug!(seconds = metadata.duration, "the recogniser closed its account");
                out.push_back(Heard::Over);
            }
            wire::Message::Error(error) => out.push_back(Heard::Broken(error.to_string())),
            wire::Message::Other(kind) => tracing::debug!(kind, "skipped a message"),
            wire::Message::TurnInfo(_) | wire::Message::Connected => {
                tracing::debug!("skipped a Flux message");
            }
        }
    }
}

fn heard_results(results: wire::Results, replay: &mut Replay, out: &mut VecDeque<Heard>) {
    let span = (replay.place(results.start), replay.place(results.start + results.duration));
    let flags = (results.is_final, results.speech_final, results.from_finalize);
    let (is_final, speech_final, from_finalize) = flags;
    let best = results.into_best();
    let (words, cut, last) = words(replay, best.words, span);
    // The older documentation shows results that end speech without being final; there is nothing
    // after them all the same.
    let is_final = is_final || speech_final || from_finalize;
    let kind = if is_final { TranscriptKind::Final } else { TranscriptKind::Interim };
    let mut transcript = transcript(kind, (words, cut), best.transcript, span);
    transcript.end_of_speech = speech_final;
    if is_final {
        replay.fix(span.1, last);
    }
    out.push_back(Heard::Event(SttEvent::Transcript(transcript)));
    if is_final && replay.answer(span.1, from_finalize) {
        out.push_back(Heard::Answered);
    }
}
