//! The way out of audio: from the synthesiser's rate to the listener's.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::Bytes;

use crate::audio::{
    AudioFormat, Frame, SampleRate,
    resample::{Resampler, UnsupportedRates},
};

/// The agent's voice at the rate the listener asked for.
#[derive(Debug)]
pub(in crate::pipeline) struct Voice {
    resampler: Option<Resampler>,
}

impl Voice {
    pub(in crate::pipeline) fn new(rate: SampleRate) -> Result<Self, UnsupportedRates> {
        let from = AudioFormat::VOICE.rate();
        let resampler = if rate == from { None } else { Some(Resampler::new(from, rate)?) };
        Ok(Self { resampler })
    }

    /// The next audio; shared and not copied where the rates agree.
    pub(in crate::pipeline) fn convert(&mut self, frame: &Frame) -> Bytes {
        match &mut self.resampler {
            Some(resampler) => resampler.push(frame).into_bytes(),
            None => frame.bytes().clone(),
        }
    }

    /// What is left of an answer.
    pub(in crate::pipeline) fn flush(&mut self) -> Bytes {
        self.resampler.as_mut().map_or_else(Bytes::new, |resampler| resampler.flush().into_bytes())
    }

    /// The answer was cut: what is left of it is not wanted.
    pub(in crate::pipeline) fn reset(&mut self) {
        if let Some(resampler) = &mut self.resampler {
            resampler.reset();
        }
    }
}
