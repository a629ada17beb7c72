//! `/v2/listen`, called Flux: the provider judges when a turn begins and ends.
//!
//! Its clock is the audio. Where audio stops inside a turn no event would ever come, so silence is
//! sent in its place ([`FluxConfig::padding`]); that silence counts as audio of the session in all
//! times, and is billed.

use std::{collections::VecDeque, time::Duration};

use bytes::Bytes;
use http::Request;
use tokio_tungstenite::tungstenite;

use super::{
    config::{Config, ConfigError, FluxConfig},
    dialect::{Dialect, Heard, transcript, words},
    replay::{Replay, bytes_in},
    session, wire,
};
use crate::{
    connect::Connector,
    stt::{Driver, SpeechToText, SttEvent, SttSession, TranscriptKind},
};

/// Within an open turn the provider reports every quarter second of audio, so two seconds without a
/// report mean that it is mute.
const MUTE_AFTER: Duration = Duration::from_secs(2);
/// Half a second of audio is worth two reports.
const ANSWER_DUE_AFTER: Duration = Duration::from_millis(500);

/// A client of `/v2/listen`.
#[derive(Debug, Clone)]
pub struct Flux {
    config: Config,
    flux: FluxConfig,
    request: Request<()>,
    connector: Connector,
}

impl Flux {
    /// A client with this configuration, or what is wrong with it. Connects when a session opens.
    /// The watch over a mute provider is at most two seconds here, because Flux reports every
    /// quarter second.
    pub fn new(mut config: Config, flux: FluxConfig, connector: Connector) -> Result<Self, ConfigError> {
        let request = config.flux_request(&flux)?;
        config.timing.mute_after = config.timing.mute_after.min(MUTE_AFTER);
        config.timing.answer_due_after = config.timing.answer_due_after.min(ANSWER_DUE_AFTER);
        Ok(Self { config, flux, request, connector })
    }
}

impl SpeechToText for Flux {
    fn open(&self) -> (SttSession, Driver) {
        let dialect = Dialogue { flux: self.flux.clone(), turn: Turn::Closed };
        session::open(&self.config, &self.request, &self.connector, dialect)
    }
}

struct Dialogue {
    flux: FluxConfig,
    turn: Turn,
}

/// The provider's turn, as it told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Closed,
    Open,
    /// It may be over.
    AwaitingEnd,
    /// It was open when the connection was lost; the new one will hear its beginning again.
    Interrupted,
}

impl Dialect for Dialogue {
    const READY_ON_OPEN: bool = false;
    /// 80 ms, which the provider strongly recommends.
    const LEAST: u64 = 2560;

    fn keep_alive(&self) -> tungstenite::Message {
        tungstenite::Message::Ping(Bytes::new())
    }

    fn question(&self) -> &'static str {
        wire::FORCE_END_TURN
    }

    fn trailing_silence(&self) -> u64 {
        bytes_in(self.flux.trailing_silence)
    }

    fn padding(&self) -> Option<(Duration, u64)> {
        matches!(self.turn, Turn::Open | Turn::AwaitingEnd)
            .then(|| (self.flux.stalled_after, bytes_in(self.flux.padding)))
    }

    fn reopened(&mut self, out: &mut VecDeque<Heard>) {
        if self.turn == Turn::AwaitingEnd {
            out.push_back(Heard::Event(SttEvent::TurnResumed));
        }
        if self.turn != Turn::Closed {
            self.turn = Turn::Interrupted;
        }
    }

    fn heard(&mut self, message: wire::Message, replay: &mut Replay, out: &mut VecDeque<Heard>) {
        match message {
            wire::Message::Connected => out.push_back(Heard::Ready),
            wire::Message::TurnInfo(info) => self.heard_turn(info, replay, out),
            wire::Message::Error(error) => out.push_back(Heard::Broken(error.to_string())),
            wire::Message::Other(kind) => tracing::debug!(kind, "skipped a message"),
            wire::Message::Results(_) | wire::Message::Metadata(_) => {
                tracing::debug!("skipped a v1 message");
            }
        }
    }
}

impl Dialogue {
    fn heard_turn(&mut self, info: wire::TurnInfo, replay: &mut Replay, out: &mut VecDeque<Heard>) {
        let span = (replay.place(info.audio_window_start), replay.place(info.audio_window_end));
        let (words, cut, last) = words(replay, info.words, span);
        let over = info.event == "EndOfTurn";
        let kind = if over { TranscriptKind::Final } else { TranscriptKind::Interim };
        let mut transcript = transcript(kind, (words, cut), info.transcript, span);
        transcript.end_of_speech = over;
        let whole = transcript.text.clone();
        let told = SttEvent::Transcript(transcript);

        match info.event.as_str() {
            "StartOfTurn" => {
                if self.turn == Turn::Closed {
                    out.push_back(Heard::Event(SttEvent::StartOfTurn));
                }
                self.turn = Turn::Open;
                out.push_back(Heard::Event(told));
            }
            "EagerEndOfTurn" => {
                self.turn = Turn::AwaitingEnd;
                out.push_back(Heard::Event(told));
                out.push_back(Heard::Event(SttEvent::EagerEndOfTurn(whole)));
            }
            "TurnResumed" => {
                self.turn = Turn::Open;
                out.push_back(Heard::Event(SttEvent::TurnResumed));
                out.push_back(Heard::Event(told));
            }
            "EndOfTurn" => {
                self.turn = Turn::Closed;
                // Words without times end where the turn ends.
                replay.fix(span.1, last.or((!whole.is_empty()).then_some(span.1)));
                out.push_back(Heard::Event(told));
                out.push_back(Heard::Event(SttEvent::EndOfTurn(whole)));
                if replay.answer(span.1, true) {
                    out.push_back(Heard::Answered);
                }
            }
            // An update outside a turn says that there was silence so far.
            _ if self.turn == Turn::Closed => replay.fix(span.1, None),
            _ if whole.is_empty() => {}
            _ => out.push_back(Heard::Event(told)),
        }
    }
}
