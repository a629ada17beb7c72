//! The way in of audio: to the detector's rate, past the detector, through the gate.
//!
//! Pre-roll is kept only where the server detects speech. A client with a button or a detector of its own sends exactly what it
//! means to, and audio that trails behind one turn must not open the next.

use std::{collections::VecDeque, time::Duration};

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

/// What hears the listener.
pub(super) struct Ears {
    format: AudioFormat,
    resampler: Option<Resampler>,
    detector: Detector,
    gate: Gate,
    mode: Mode,
    client_vad: bool,
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
            changes: VecDeque::new(),
        })
    }

    pub(super) fn listen(&mut self, mode: Mode, client_vad: bool) {
        if (self.mode, self.client_vad) != (mode, client_vad) {
            (self.mode, self.client_vad) = (mode, client_vad);
            self.detector.reset();
        }
    }

    /// Whether the client's detector counts.
    pub(super) fn client_detects(&self) -> bool {
        self.mode == Mode::OpenMicrophone && self.client_vad
    }

    fn server_detects(&self) -> bool {
        self.mode == Mode::OpenMicrophone && !self.client_vad
    }

    /// Takes audio in, as 16 kHz; what the detector makes of it waits in [`Ears::next_change`].
    pub(super) fn hear(&mut self, bytes: Bytes) -> Option<Frame> {
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
