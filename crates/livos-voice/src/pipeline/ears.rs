//! What hears the listener: audio on its way to the recogniser, and what the recogniser makes of
//! it.
//!
//! Audio is brought to the detector's rate, past the detector, and through the gate. Pre-roll is
//! kept only if the server detects speech: a client with a button or a detector of its own sends
//! exactly what it means to, and audio that trails behind one turn must not open the next.
//!
//! A frame waits until its own detections are taken out, because turn taking opens or closes the
//! gate by them. So drain the ears one output at a time, and let turn taking act on each.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use livos_core::machine::Machine;

use super::{answer::latency::Recognition, connection};
use crate::{
    audio::{
        AudioFormat, Frame,
        resample::{Resampler, UnsupportedRates},
    },
    connection::ConnectionState,
    stt::{SttEvent, Transcript, TranscriptKind},
    transport::{
        Hello,
        protocol::{ErrorCode, ServerMessage},
    },
    turn::{Mode, TurnInput},
    vad::{Detector, DetectorConfig, Gate, Vad, VadState},
};

/// How long audio may stay away in the middle of speech. A network may stall that long; a muted
/// microphone stays away longer.
const STARVED: Duration = Duration::from_secs(1);
/// Final words that end this much before the audio cover it: no word is shorter.
const COVERED: Duration = Duration::from_millis(60);

#[derive(Debug)]
pub(super) enum EarsInput {
    /// Audio at the client's rate.
    Audio(Frame),
    /// Another detector counts from now on, or none.
    Listen {
        mode: Mode,
        client_vad: bool,
    },
    Pressed,
    Released,
    /// What the client's detector reports.
    ClientVad {
        state: VadState,
        last_voiced: Instant,
    },
    OpenGate,
    CloseGate,
    /// Speech has ended: the recogniser is to answer for all of it.
    Finalize,
    Recognised(SttEvent),
    /// The recogniser's session is over.
    RecogniserClosed,
}

#[derive(Debug)]
pub(super) enum EarsOutput {
    Turn(TurnInput),
    /// Words: for turn taking, and then to be shown as part of the turn so far.
    Transcript(Transcript),
    /// Audio that passed the gate, for the recogniser, if the budget holds it.
    Audio(Frame),
    /// Ask the recogniser for its last words.
    EndOfSpeech,
    Tell(ServerMessage),
    /// Audio that the recogniser has billed so far.
    Billed(Duration),
}

pub(super) struct Ears {
    resampler: Option<Resampler>,
    detector: Detector,
    gate: Gate,
    mode: Mode,
    client_vad: bool,
    last_audio: Option<Instant>,
    /// What the detector made of the last frame, with the age of the last voiced audio.
    changes: VecDeque<(VadState, Option<Duration>)>,
    /// The last frame, which meets the gate once its changes are taken out.
    frame: Option<Frame>,
    recogniser: Recogniser,
    /// Audio given to the recogniser.
    given: Duration,
    /// Up to where the recogniser has answered with final words.
    answered_to: Duration,
    recognition: Recognition,
    outputs: VecDeque<EarsOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recogniser {
    Usable,
    /// It refused for good, or its session is over.
    Gone,
}

impl Ears {
    pub(super) fn new(
        hello: &Hello,
        vad: Box<dyn Vad>,
        detector: DetectorConfig,
    ) -> Result<Self, UnsupportedRates> {
        let speech = AudioFormat::SPEECH;
        let resampler = match hello.input_rate == speech.rate() {
            true => None,
            false => Some(Resampler::new(hello.input_rate, speech.rate())?),
        };
        Ok(Self {
            resampler,
            detector: Detector::new(vad, detector),
            gate: Gate::new(speech, Gate::PRE_ROLL),
            mode: hello.mode,
            client_vad: hello.client_vad,
            last_audio: None,
            changes: VecDeque::new(),
            frame: None,
            recogniser: Recogniser::Usable,
            given: Duration::ZERO,
            answered_to: Duration::ZERO,
            recognition: Recognition::default(),
            outputs: VecDeque::new(),
        })
    }

    /// When the recogniser was last asked for its last words, and answered.
    pub(super) fn recognition(&self) -> Recognition {
        self.recognition
    }

    fn turn(&mut self, input: TurnInput) {
        self.outputs.push_back(EarsOutput::Turn(input));
    }

    fn server_detects(&self) -> bool {
        self.mode == Mode::OpenMicrophone && !self.client_vad
    }

    // What the listener sends.

    fn hear(&mut self, now: Instant, mut frame: Frame) {
        self.last_audio = Some(now);
        if let Some(resampler) = &mut self.resampler {
            frame = resampler.push(&frame);
        }
        if self.server_detects() {
            self.detector.push(&frame, |state, silent_for| self.changes.push_back((state, silent_for)));
        }
        self.frame = Some(frame);
    }

    fn listen(&mut self, mode: Mode, client_vad: bool) {
        if (self.mode, self.client_vad) != (mode, client_vad) {
            (self.mode, self.client_vad) = (mode, client_vad);
            self.detector.reset();
            // Nobody would end the speech that the detector before heard.
            self.turn(TurnInput::Vad { state: VadState::Quiet, last_voiced: None });
        }
        self.turn(TurnInput::Mode(mode));
    }

    fn press(&mut self) {
        if self.recogniser == Recogniser::Gone {
            let message = "speech cannot be recognised just now; typing works";
            self.outputs.push_back(EarsOutput::Tell(ErrorCode::SpeechUnavailable.message(message)));
        }
        self.turn(TurnInput::Pressed);
    }

    fn client_vad(&mut self, state: VadState, last_voiced: Instant) {
        if self.mode == Mode::OpenMicrophone && self.client_vad {
            self.turn(TurnInput::Vad { state, last_voiced: Some(last_voiced) });
        }
    }

    // What turn taking decides.

    fn open_gate(&mut self) {
        let pre_roll = self.gate.open();
        let output = self.give(pre_roll);
        self.outputs.extend(output);
    }

    fn finalize(&mut self, now: Instant) {
        self.recognition = Recognition { asked: Some(now), answered: None };
        if self.has_answered() {
            self.finalized(now);
        } else {
            self.outputs.push_back(EarsOutput::EndOfSpeech);
        }
    }

    /// Whether final words cover everything the recogniser was given, or no answer can be expected.
    fn has_answered(&self) -> bool {
        self.recogniser == Recogniser::Gone || self.answered_to + COVERED >= self.given
    }

    /// The frame meets the gate.
    fn pass(&mut self, frame: Frame) -> Option<EarsOutput> {
        let frame = match self.gate.is_open() || self.server_detects() {
            true => self.gate.push(frame)?,
            false => return None,
        };
        self.give(frame)
    }

    fn give(&mut self, frame: Frame) -> Option<EarsOutput> {
        self.given += frame.duration();
        (!frame.is_empty()).then_some(EarsOutput::Audio(frame))
    }

    // What the recogniser reports.

    fn recognised(&mut self, now: Instant, event: SttEvent) {
        if self.recogniser == Recogniser::Gone {
            return;
        }
        match event {
            SttEvent::State(state) => {
                self.turn(TurnInput::Recognising(state == ConnectionState::Connected));
                let told = connection::message("speech to text", state);
                self.outputs.push_back(EarsOutput::Tell(told));
            }
            SttEvent::Transcript(transcript) => {
                if transcript.kind == TranscriptKind::Final {
                    self.answered_to = self.answered_to.max(transcript.end);
                }
                self.outputs.push_back(EarsOutput::Transcript(transcript));
            }
            SttEvent::Finalized => self.finalized(now),
            SttEvent::StartOfTurn => self.turn(TurnInput::ProviderStartOfTurn),
            SttEvent::EagerEndOfTurn(text) => self.turn(TurnInput::ProviderEagerEndOfTurn(text)),
            SttEvent::TurnResumed => self.turn(TurnInput::ProviderTurnResumed),
            SttEvent::EndOfTurn(text) => {
                self.recognition.answered = Some(now);
                self.turn(TurnInput::ProviderEndOfTurn(text));
            }
            SttEvent::Billed(total) => self.outputs.push_back(EarsOutput::Billed(total)),
            SttEvent::Failed(reason) => {
                self.outputs.push_back(EarsOutput::Tell(ErrorCode::SpeechUnavailable.message(reason)));
                self.recogniser_gone(now);
            }
        }
    }

    fn recogniser_gone(&mut self, now: Instant) {
        if self.recogniser == Recogniser::Usable {
            self.recogniser = Recogniser::Gone;
            self.finalized(now);
        }
    }

    fn finalized(&mut self, now: Instant) {
        self.recognition.answered = Some(now);
        self.turn(TurnInput::Finalized);
    }
}

impl Machine for Ears {
    type Input = EarsInput;
    type Output = EarsOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: EarsInput) {
        match input {
            EarsInput::Audio(frame) => self.hear(now, frame),
            EarsInput::Listen { mode, client_vad } => self.listen(mode, client_vad),
            EarsInput::Pressed => self.press(),
            EarsInput::Released => self.turn(TurnInput::Released),
            EarsInput::ClientVad { state, last_voiced } => self.client_vad(state, last_voiced),
            EarsInput::OpenGate => self.open_gate(),
            EarsInput::CloseGate => self.gate.close(),
            EarsInput::Finalize => self.finalize(now),
            EarsInput::Recognised(event) => self.recognised(now, event),
            EarsInput::RecogniserClosed => self.recogniser_gone(now),
        }
    }

    /// Ends the speech of a listener whose audio stopped in the middle of it: the detector counts
    /// audio, and would wait forever.
    fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_some_and(|at| at <= now) {
            self.detector.reset();
            self.turn(TurnInput::Vad { state: VadState::Quiet, last_voiced: self.last_audio });
        }
    }

    fn poll_output(&mut self) -> Option<EarsOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some((state, silent_for)) = self.changes.pop_front() {
            let last_voiced = self.last_audio.zip(silent_for).and_then(|(at, age)| at.checked_sub(age));
            return Some(EarsOutput::Turn(TurnInput::Vad { state, last_voiced }));
        }
        let frame = self.frame.take()?;
        self.pass(frame)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let hears = self.server_detects() && self.detector.state() != VadState::Quiet;
        self.last_audio.filter(|_| hears).map(|at| at + STARVED)
    }
}

#[cfg(test)]
mod tests;
