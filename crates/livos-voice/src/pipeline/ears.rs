//! The way in of audio: to the detector's rate, past the detector, through the gate.
//!
//! Pre-roll is kept only where the server detects speech. A client with a button or a detector of
//! its own sends exactly what it means to, and audio that trails behind one turn must not open the
//! next.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    audio::{
        AudioFormat, Frame,
        resample::{Resampler, UnsupportedRates},
    },
    transport::Hello,
    turn::Mode,
    vad::{Detector, DetectorConfig, Gate, Vad, VadState},
};

/// How long audio may stay away in the middle of speech. A network may stall that long; a muted
/// microphone stays away longer.
const STARVED: Duration = Duration::from_secs(1);

/// What hears the listener.
pub(super) struct Ears {
    format: AudioFormat,
    resampler: Option<Resampler>,
    detector: Detector,
    gate: Gate,
    mode: Mode,
    client_vad: bool,
    last_audio: Option<Instant>,
    /// What the detector made of the last frame, with the age of the last voiced audio.
    changes: VecDeque<(VadState, Option<Duration>)>,
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
            format: AudioFormat::new(hello.input_rate),
            resampler,
            detector: Detector::new(vad, detector),
            gate: Gate::new(speech, Gate::PRE_ROLL),
            mode: hello.mode,
            client_vad: hello.client_vad,
            last_audio: None,
            changes: VecDeque::new(),
        })
    }

    /// Whether another detector, or none, counts from now on.
    pub(super) fn listen(&mut self, mode: Mode, client_vad: bool) -> bool {
        let changed = (self.mode, self.client_vad) != (mode, client_vad);
        if changed {
            (self.mode, self.client_vad) = (mode, client_vad);
            self.detector.reset();
        }
        changed
    }

    /// When a detector that hears speech is to be told that no audio comes any more: it counts
    /// audio, and would wait for ever.
    pub(super) fn starves_at(&self) -> Option<Instant> {
        let waits = self.server_detects() && self.detector.state() != VadState::Quiet;
        self.last_audio.filter(|_| waits).map(|at| at + STARVED)
    }

    /// Ends the speech of a listener whose audio stopped in the middle of it; answers when it did.
    pub(super) fn starved(&mut self, now: Instant) -> Option<Instant> {
        self.starves_at().filter(|at| *at <= now)?;
        self.detector.reset();
        self.last_audio
    }

    /// Whether the client's detector counts.
    pub(super) fn client_detects(&self) -> bool {
        self.mode == Mode::OpenMicrophone && self.client_vad
    }

    fn server_detects(&self) -> bool {
        self.mode == Mode::OpenMicrophone && !self.client_vad
    }

    /// Takes audio in, as 16 kHz; what the detector makes of it waits in [`Ears::next_change`].
    pub(super) fn hear(&mut self, now: Instant, bytes: Bytes) -> Option<Frame> {
        self.last_audio = Some(now);
        let mut frame = Frame::new(self.format, bytes).ok()?;
        if let Some(resampler) = &mut self.resampler {
            frame = resampler.push(&frame);
        }
        if self.server_detects() {
            self.detector.push(&frame, |state, silent_for| self.changes.push_back((state, silent_for)));
        }
        Some(frame)
    }

    pub(super) fn next_change(&mut self) -> Option<(VadState, Option<Duration>)> {
        self.changes.pop_front()
    }

    /// What of it the recogniser gets.
    pub(super) fn pass(&mut self, frame: Frame) -> Option<Frame> {
        match self.gate.is_open() || self.server_detects() {
            true => self.gate.push(frame),
            false => None,
        }
    }

    /// Opens the gate; the audio from just before comes first.
    pub(super) fn open(&mut self) -> Frame {
        self.gate.open()
    }

    pub(super) fn close(&mut self) {
        self.gate.close();
    }
}
