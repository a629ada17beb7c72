//! What a client may send when: from the text and bytes of a socket to messages that cannot be
//! wrong.
//!
//! Everything a hostile or confused client can do is answered here by a typed [`Violation`]; behind
//! it, nobody checks again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Hello, Incoming,
    protocol::{
        ClientMessage, ErrorCode, MAX_AUDIO_AHEAD, MAX_AUDIO_MESSAGE, MAX_TEXT_MESSAGE, MAX_TEXT_RATE,
        VERSION,
    },
};
use crate::{
    audio::{AudioFormat, Frame, SampleRate},
    generation::Generation,
};

/// Real time as the client's sound card measures it: 10 % more than ours covers any drift.
const CLOCK_TOLERANCE: f64 = 1.1;
/// How many text messages may come at once. Four seconds' worth: a page that was asleep sends what
/// it has.
const TEXT_BURST: f64 = MAX_TEXT_RATE as f64 * 4.0;

/// The client broke a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Violation {
    /// Which rule, and whether the session can go on.
    pub code: ErrorCode,
    /// What was wrong, in words for a person.
    pub message: String,
}

/// Checks what one client sends.
#[derive(Debug)]
pub struct Intake {
    format: Option<AudioFormat>,
    pressed: bool,
    /// The highest generation the client was told of.
    spoken: Option<Generation>,
    /// Seconds of audio that may come at once.
    audio_credit: f64,
    /// Text messages that may come at once.
    text_credit: f64,
    refilled: Instant,
}

impl Intake {
    /// An intake that expects a `hello` first.
    pub fn new(now: Instant) -> Self {
        Self {
            format: None,
            pressed: false,
            spoken: None,
            audio_credit: MAX_AUDIO_AHEAD.as_secs_f64(),
            text_credit: TEXT_BURST,
            refilled: now,
        }
    }

    /// True once a valid `hello` came.
    pub fn is_open(&self) -> bool {
        self.format.is_some()
    }

    /// The client was told of this generation, so it may report on it.
    pub fn spoke(&mut self, generation: Generation) {
        self.spoken = self.spoken.max(Some(generation));
    }

    /// A text message came.
    pub fn text(&mut self, now: Instant, text: &str) -> Result<Incoming, Violation> {
        self.refill(now);
        if text.len() > MAX_TEXT_MESSAGE {
            return Err(too_large("text", text.len(), MAX_TEXT_MESSAGE));
        }
        if self.text_credit < 1.0 {
            return Err(violation(
                ErrorCode::TooFast,
                format!("more than {MAX_TEXT_RATE} text messages a second"),
            ));
        }
        self.text_credit -= 1.0;
        let message = serde_json::from_str::<ClientMessage>(text).map_err(|error| {
            violation(ErrorCode::Malformed, format!("not a message of this protocol: {error}"))
        })?;
        match (message, self.is_open()) {
            (ClientMessage::Hello { .. }, true) => {
                Err(violation(ErrorCode::AlreadyOpen, "the session is already open"))
            }
            (
                ClientMessage::Hello { version, input_rate, output_rate, mode, conversation, client_vad },
                false,
            ) => {
                let (input_rate, output_rate) = agree(version, input_rate, output_rate)?;
                self.format = Some(AudioFormat::new(input_rate));
                Ok(Incoming::Hello(Hello { input_rate, output_rate, mode, conversation, client_vad }))
            }
            (_, false) => Err(expected_hello()),
            (message, true) => self.in_order(message).map(Incoming::Message),
        }
    }

    /// A binary message came.
    pub fn audio(&mut self, now: Instant, bytes: Bytes) -> Result<Incoming, Violation> {
        self.refill(now);
        let Some(format) = self.format else { return Err(expected_hello()) };
        if bytes.len() > MAX_AUDIO_MESSAGE {
            return Err(too_large("audio", bytes.len(), MAX_AUDIO_MESSAGE));
        }
        let frame =
            Frame::new(format, bytes).map_err(|error| violation(ErrorCode::OddAudio, error.to_string()))?;
        let duration = frame.duration().as_secs_f64();
        if self.audio_credit < duration {
            return Err(violation(ErrorCode::TooFast, "audio came faster than real time for too long"));
        }
        self.audio_credit -= duration;
        Ok(Incoming::Audio(frame))
    }

    fn in_order(&mut self, message: ClientMessage) -> Result<ClientMessage, Violation> {
        match &message {
            ClientMessage::Press { .. } => self.pressed = true,
            ClientMessage::Release { .. } if !self.pressed => {
                return Err(violation(ErrorCode::OutOfOrder, "release without press"));
            }
            ClientMessage::Release { .. } => self.pressed = false,
            ClientMessage::Playout { generation, .. } | ClientMessage::Measured { generation, .. }
                if Some(*generation) > self.spoken || *generation == Generation(0) =>
            {
                return Err(violation(ErrorCode::OutOfOrder, format!("no answer {generation} was spoken")));
            }
            _ => {}
        }
        Ok(message)
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled).as_secs_f64();
        self.refilled = now;
        let ahead = MAX_AUDIO_AHEAD.as_secs_f64();
        self.audio_credit = (self.audio_credit + elapsed * CLOCK_TOLERANCE).min(ahead);
        self.text_credit = (self.text_credit + elapsed * f64::from(MAX_TEXT_RATE)).min(TEXT_BURST);
    }
}

/// How long a client may take from connecting to its `hello`. 10 s: a phone on a bad network needs
/// three.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// No `hello` came, or something else came first.
pub fn expected_hello() -> Violation {
    violation(ErrorCode::ExpectedHello, "the first message must be hello")
}

fn agree(version: u32, input: u32, output: u32) -> Result<(SampleRate, SampleRate), Violation> {
    if version != VERSION {
        let problem = format!("version {version} is not spoken here, only {VERSION}");
        return Err(violation(ErrorCode::UnsupportedVersion, problem));
    }
    let input_rate = SampleRate::from_hz(input).filter(|rate| *rate != SampleRate::Hz24000);
    let output_rate = SampleRate::from_hz(output).filter(|rate| *rate != SampleRate::Hz16000);
    input_rate.zip(output_rate).ok_or_else(|| {
        let problem =
            format!("{input} Hz in and {output} Hz out: in must be 16000 or 48000, out 24000 or 48000");
        violation(ErrorCode::UnsupportedFormat, problem)
    })
}

fn too_large(kind: &str, length: usize, limit: usize) -> Violation {
    violation(ErrorCode::TooLarge, format!("a {kind} message of {length} bytes is longer than {limit}"))
}

fn violation(code: ErrorCode, message: impl Into<String>) -> Violation {
    Violation { code, message: message.into() }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HELLO: &str = r#"{"type":"hello","version":1,"input_rate":16000,"output_rate":24000}"#;

    fn open(now: Instant) -> Intake {
        let mut intake = Intake::new(now);
        assert!(matches!(intake.text(now, HELLO), Ok(Incoming::Hello(_))));
        intake
    }

    #[track_caller]
    fn refused(result: Result<Incoming, Violation>, code: ErrorCode) {
        assert_eq!(result.map_err(|violation| violation.code), Err(code));
    }

    #[test]
    fn each_rule_has_its_code() {
        let now = Instant::now();
        let fresh = || Intake::new(now);
        refused(fresh().text(now, r#"{"type":"stop"}"#), ErrorCode::ExpectedHello);
        refused(fresh().audio(now, Bytes::from_static(&[0, 0])), ErrorCode::ExpectedHello);
        refused(fresh().text(now, &HELLO.replace(":1,", ":2,")), ErrorCode::UnsupportedVersion);
        refused(fresh().text(now, &HELLO.replace("16000", "24000")), ErrorCode::UnsupportedFormat);
        refused(fresh().text(now, &HELLO.replace("24000", "16000")), ErrorCode::UnsupportedFormat);
        refused(fresh().text(now, "{"), ErrorCode::Malformed);
        refused(open(now).text(now, r#"{"type":"press","at_ms":1,"please":1}"#), ErrorCode::Malformed);
        refused(open(now).text(now, HELLO), ErrorCode::AlreadyOpen);
        refused(open(now).text(now, &" ".repeat(MAX_TEXT_MESSAGE + 1)), ErrorCode::TooLarge);
        refused(open(now).audio(now, vec![0; MAX_AUDIO_MESSAGE + 2].into()), ErrorCode::TooLarge);
        refused(open(now).audio(now, Bytes::from_static(&[0; 3])), ErrorCode::OddAudio);
        refused(open(now).text(now, r#"{"type":"release","at_ms":1}"#), ErrorCode::OutOfOrder);
        let playout = r#"{"type":"playout","generation":1,"played_ms":0,"state":"started","at_ms":1}"#;
        refused(open(now).text(now, playout), ErrorCode::OutOfOrder);
        let mut spoken = open(now);
        spoken.spoke(Generation(1));
        assert!(spoken.text(now, playout).is_ok());
    }

    #[test]
    fn audio_may_catch_up_but_not_flood() {
        let start = Instant::now();
        let mut intake = open(start);
        let second = Bytes::from(vec![0; 32_000]);
        for _ in 0..30 {
            assert!(intake.audio(start, second.clone()).is_ok());
        }
        refused(intake.audio(start, second.clone()), ErrorCode::TooFast);
        let mut intake = open(start);
        for at in 0..3600 {
            assert!(
                intake.audio(start + Duration::from_secs(at), second.clone()).is_ok(),
                "real time at {at} s"
            );
        }
    }

    #[test]
    fn text_messages_are_limited() {
        let now = Instant::now();
        let mut intake = open(now);
        let sent = (0..1000).take_while(|_| intake.text(now, r#"{"type":"stop"}"#).is_ok()).count();
        assert_eq!(sent, 199);
        assert!(intake.text(now + Duration::from_secs(1), r#"{"type":"stop"}"#).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,200}", opened: bool) {
            let now = Instant::now();
            let mut intake = if opened { open(now) } else { Intake::new(now) };
            let _ = intake.text(now, &text);
        }

        #[test]
        fn no_message_of_the_right_shape_panics(
            kind in prop::sample::select(vec!["hello", "mode", "press", "release", "vad", "text", "playout", "measured", "ping"]),
            number in any::<f64>(),
            text in "\\PC{0,20}",
        ) {
            let now = Instant::now();
            let body = serde_json::json!({
                "type": kind, "at_ms": number, "generation": number, "state": text, "text": text, "played_ms": number,
            });
            let _ = open(now).text(now, &body.to_string());
        }
    }
}
