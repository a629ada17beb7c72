//! The voice WebSocket protocol, version 1, message by message.
//!
//! One WebSocket carries one voice session. **Binary** messages are audio and nothing else: mono
//! PCM, signed 16-bit little-endian, at the rates that `hello` and `ready` declared; client to
//! server 16 or 48 kHz, server to client 24 or 48 kHz. Twenty milliseconds a message is right; at
//! most [`MAX_AUDIO_MESSAGE`] bytes. **Text** messages are JSON objects with a `type`, at most
//! [`MAX_TEXT_MESSAGE`] bytes.
//!
//! # Opening
//!
//! The client sends [`ClientMessage::Hello`] first; the server answers [`ServerMessage::Ready`], or
//! [`ServerMessage::Error`] and closes. Anything else before `hello` is an error of code
//! `expected_hello`.
//!
//! The client then sends what it likes until it sends `bye` or closes. A smallest client needs four
//! messages: `hello`, `press`, `release`, and `bye`; it ignores text messages whose `type` it does
//! not know.
//!
//! # A turn
//!
//! Push to talk: `press`, audio, `release`. Audio outside the two is dropped. Open microphone:
//! audio flows; a client that detects speech itself (`client_vad`) sends `vad` messages and only
//! the speech, with 200 to 400 ms of pre-roll: first `vad` `speaking`, then the pre-roll, then the
//! audio as it comes, then `vad` `stopping` (optional) and `quiet`. Without `client_vad` the server
//! detects speech.
//!
//! The server sends `state`, `transcript`s while the user speaks, then `speech_start`, audio,
//! `words`, `speech_end`, `waterfall` after the first audio, and `reply_end` once the answer has
//! been played or cut off. `words` may come a little before or after the audio that they place. An
//! answer that cannot be spoken comes as `reply` pieces and `reply_end`; a typed question is
//! answered both ways.
//!
//! # Generations
//!
//! Each answer has a number, which only rises. Numbers may be skipped: an answer prepared in vain
//! leaves no trace on the wire.
//!
//! # The player
//!
//! A client with a player reports `playout`: `started` when the first sample sounds, `playing`
//! about four times a second, `held` while sound is not possible, `ended` after `speech_end` when
//! the last sample has sounded. The history of the conversation keeps the words up to `played_ms`.
//! For a client that never reports, the server assumes that audio sounds when it arrives.
//!
//! # Limits
//!
//! Audio may run ahead of real time by [`MAX_AUDIO_AHEAD`], so that a stalled network can catch up;
//! text messages may not exceed [`MAX_TEXT_RATE`] a second for long. Beyond: `too_fast`. The server
//! sends WebSocket pings and drops a client that answers none for 45 seconds; it sends at most 30
//! seconds of audio ahead of the player.
//!
//! # Whose audio
//!
//! Audio belongs to the last `speech_start` before it on the socket. After `clear` the client drops
//! what it has buffered of that generation and older, and drops arriving audio until the next
//! `speech_start`.
//!
//! # Clocks
//!
//! `at_ms` is the sender's own monotonic clock in milliseconds with any origin. The client sends
//! `ping` now and then; from the `pong` each side can place the other's clock, so that the
//! waterfall of a turn sums to the silence the listener heard.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    generation::Generation,
    turn::{Mode, TurnState},
    vad::VadState,
};

/// The version this module describes.
pub const VERSION: u32 = 1;
/// The longest binary message, in bytes: one second at 48 kHz, so that a client may batch but not
/// flood.
pub const MAX_AUDIO_MESSAGE: usize = 96_000;
/// The longest text message, in bytes.
pub const MAX_TEXT_MESSAGE: usize = 16 * 1024;

/// How far the client's audio may run ahead of real time. 30 s: as long as a network may stall
/// without the socket breaking.
pub const MAX_AUDIO_AHEAD: Duration = Duration::from_secs(30);
/// How many text messages a second a client may send for long. 50: ten times what a client with
/// detector and player needs.
pub const MAX_TEXT_RATE: u32 = 50;

/// What a client sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum ClientMessage {
    /// Opens the session; the first message.
    Hello {
        /// The version of the protocol, [`VERSION`].
        version: u32,
        /// Samples a second of the audio the client sends: 16000 or 48000.
        input_rate: u32,
        /// Samples a second of the audio the client wants: 24000 or 48000.
        output_rate: u32,
        /// How the user takes the floor.
        #[serde(default)]
        mode: Mode,
        /// Continues an earlier conversation; without it the server makes a new one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        conversation: Option<String>,
        /// True when the client detects speech itself and sends `vad` messages.
        #[serde(default)]
        client_vad: bool,
    },
    /// Changes how the user takes the floor.
    Mode {
        /// How the user takes the floor from now on.
        mode: Mode,
        /// Whether the client detects speech itself, as in `hello`.
        #[serde(default)]
        client_vad: bool,
    },
    /// The talk button went down.
    Press {
        /// Milliseconds of the client's clock.
        at_ms: f64,
    },
    /// The talk button went up; all audio of the turn was sent before.
    Release {
        /// Milliseconds of the client's clock.
        at_ms: f64,
    },
    /// What the client's own detector reports.
    Vad {
        /// What the detector says now.
        state: VadState,
        /// Client clock: when the last voiced audio was spoken.
        last_voiced_ms: f64,
    },
    /// The user typed a message.
    Text {
        /// The message as it was typed.
        text: String,
    },
    /// The user asked for silence.
    Stop,
    /// Where the player stands. Sent when a generation begins to sound, about four times a second
    /// while it plays, and when it ends.
    Playout {
        /// The number of the reply.
        generation: Generation,
        /// Milliseconds of its audio that have left the speaker.
        played_ms: f64,
        /// What the player does.
        state: PlayoutState,
        /// Milliseconds of the client's clock.
        at_ms: f64,
    },
    /// What the client measured of a turn, once its answer sounds.
    Measured {
        /// The number of the reply.
        generation: Generation,
        /// From the user's last voiced sample (or the release of the button) to the first audible
        /// sample.
        silence_ms: f64,
        /// From the first audio message's arrival to the first audible sample.
        playout_ms: f64,
    },
    /// Asks for a `pong`.
    Ping {
        /// Milliseconds of the client's clock.
        at_ms: f64,
    },
    /// The client is done; the server finishes and closes with 1000.
    Bye,
}

/// What a player does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum PlayoutState {
    /// The first sample sounds.
    Started,
    /// It goes on sounding.
    Playing,
    /// It is held: paused, or the browser has not allowed sound yet.
    Held,
    /// The last sample has sounded.
    Ended,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerMessage {
    /// The answer to `hello`.
    Ready {
        /// The version of the protocol, [`VERSION`].
        version: u32,
        /// The conversation, for a later `hello`.
        conversation: String,
        /// Samples a second of the audio the server sends.
        output_rate: u32,
        /// The providers that are simulated, by name; empty when all are real.
        simulated: Vec<String>,
    },
    /// The floor changed hands.
    State {
        /// Who holds the floor now.
        state: TurnState,
    },
    /// What the user said so far in this turn.
    Transcript {
        /// The whole turn so far.
        text: String,
        /// True once it will not change any more.
        is_final: bool,
    },
    /// The answer begins to be spoken: audio that follows belongs to it.
    SpeechStart {
        /// The number of the reply.
        generation: Generation,
    },
    /// Words of the answer with their place in its audio.
    Words {
        /// The number of the reply.
        generation: Generation,
        /// The words, in order of their start.
        words: Vec<PlacedWord>,
    },
    /// All audio of the answer was sent.
    SpeechEnd {
        /// The number of the reply.
        generation: Generation,
    },
    /// Drop buffered audio of this generation and older.
    Clear {
        /// The number of the reply.
        generation: Generation,
    },
    /// Drop audio and words of the generation from this position on; they will come again.
    Truncate {
        /// The number of the reply.
        generation: Generation,
        /// Milliseconds from the first sample of the generation.
        at_ms: f64,
    },
    /// Hold the player until `resume` or `clear`.
    Pause {
        /// The number of the reply.
        generation: Generation,
    },
    /// Go on playing after `pause`.
    Resume {
        /// The number of the reply.
        generation: Generation,
    },
    /// The answer as text; for typed turns, and when it cannot be spoken.
    Reply {
        /// The number of the reply.
        generation: Generation,
        /// The next piece of the text.
        text: String,
    },
    /// The reply is over. `heard` is what the history keeps.
    ReplyEnd {
        /// The number of the reply.
        generation: Generation,
        /// The words that reached the listener.
        heard: String,
        /// False when it was cut off.
        complete: bool,
    },
    /// Where the milliseconds went between the end of the user's speech and the first audio message
    /// of the answer, in order. The client adds what only it can see: the way up, the way down, and
    /// its player.
    Waterfall {
        /// The number of the reply.
        generation: Generation,
        /// In order; they sum to the time from `from_ms` to `sent_ms`.
        parts: Vec<LatencyPart>,
        /// The sentence that the audio begins with because the answer was not there in time; `ttft`
        /// is the wait for it then. Absent where the audio is the answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        opener: Option<String>,
        /// Server clock: when the server learned of the end of speech (it received the release, or
        /// the last voiced audio).
        from_ms: f64,
        /// Server clock: when the first audio message was handed to the socket.
        sent_ms: f64,
    },
    /// A provider connection changed.
    Connection {
        /// "speech to text" or "text to speech".
        provider: String,
        /// In words for a person.
        state: String,
        /// True when it works.
        connected: bool,
    },
    /// Something failed. After a fatal error the server closes the socket.
    Error {
        /// Which error it is, for programs.
        code: ErrorCode,
        /// For people; no secrets.
        message: String,
        /// True when the server closes.
        fatal: bool,
    },
    /// The answer to `ping`.
    Pong {
        /// The client's clock, as it was sent.
        at_ms: f64,
        /// The server's clock when it answered.
        server_ms: f64,
    },
}

/// A word and its place in the audio of its generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PlacedWord {
    /// The word as it is in the text.
    pub text: String,
    /// Milliseconds from the first sample.
    pub start_ms: f64,
    /// Milliseconds from the first sample.
    pub end_ms: f64,
}

/// One step of a turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct LatencyPart {
    /// `end_of_turn`, `stt`, `decide`, `ttft`, `clause`, `ttfb` or `send`.
    pub name: String,
    /// How long it took.
    pub ms: f64,
}

/// Why the server refuses. Fatal ones close the socket with the code in parentheses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorCode {
    /// The first message was not `hello` (4400).
    ExpectedHello,
    /// A second `hello` (4400).
    AlreadyOpen,
    /// The version is not spoken here (4406).
    UnsupportedVersion,
    /// The rates are not supported (4406).
    UnsupportedFormat,
    /// A text message is not JSON, or not a message of this protocol (4400).
    Malformed,
    /// A message is longer than allowed, or the client reads too slowly for what it is sent (1009).
    TooLarge,
    /// Binary audio with half a sample (4400).
    OddAudio,
    /// Audio faster than real time, or too many text messages, for too long (4429).
    TooFast,
    /// `release` without `press`, or a `playout` for a generation that never was: ignored, not
    /// fatal.
    OutOfOrder,
    /// The user's budget is spent (4402).
    BudgetExhausted,
    /// Speech cannot be recognised just now; typing works.
    SpeechUnavailable,
    /// The answer cannot be spoken just now; it comes as text.
    VoiceUnavailable,
    /// The responder failed; try again.
    ResponderFailed,
    /// The server is shutting down (1001).
    Draining,
    /// Something failed inside the server (1011).
    Internal,
}

impl ErrorCode {
    /// The close code that follows; none where the session goes on.
    pub const fn close_code(self) -> Option<u16> {
        match self {
            Self::ExpectedHello | Self::AlreadyOpen | Self::Malformed | Self::OddAudio => Some(4400),
            Self::BudgetExhausted => Some(4402),
            Self::UnsupportedVersion | Self::UnsupportedFormat => Some(4406),
            Self::TooFast => Some(4429),
            Self::TooLarge => Some(1009),
            Self::Draining => Some(1001),
            Self::Internal => Some(1011),
            Self::OutOfOrder | Self::SpeechUnavailable | Self::VoiceUnavailable | Self::ResponderFailed => {
                None
            }
        }
    }

    /// The error message with this code.
    pub fn message(self, message: impl Into<String>) -> ServerMessage {
        ServerMessage::Error { code: self, message: message.into(), fatal: self.close_code().is_some() }
    }
}
