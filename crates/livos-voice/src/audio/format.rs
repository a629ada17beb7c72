//! The one internal audio format, as a type: mono, signed 16-bit little-endian PCM at a known rate.
//!
//! Formats that are guessed at a boundary produce chipmunks and noise (P-21). Here the rate travels
//! with the audio, only the rates that the pipeline supports exist, and every length is converted
//! by one pair of functions.

use std::time::Duration;

/// A sample rate that the pipeline supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SampleRate {
    /// 16 kHz: speech to text and voice activity detection.
    Hz16000,
    /// 24 kHz: what text to speech produces.
    Hz24000,
    /// 48 kHz: what browsers and sound cards run at.
    Hz48000,
}

impl SampleRate {
    /// Samples per second.
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }

    /// The rate of `hz` samples a second, where the pipeline supports it.
    pub const fn from_hz(hz: u32) -> Option<Self> {
        match hz {
            16_000 => Some(Self::Hz16000),
            24_000 => Some(Self::Hz24000),
            48_000 => Some(Self::Hz48000),
            _ => None,
        }
    }
}

/// Mono, signed 16-bit little-endian PCM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioFormat {
    rate: SampleRate,
}

impl AudioFormat {
    /// Bytes of one sample.
    pub const BYTES_PER_SAMPLE: usize = 2;
    /// 16 kHz, for speech to text.
    pub const SPEECH: Self = Self::new(SampleRate::Hz16000);
    /// 24 kHz, from text to speech.
    pub const VOICE: Self = Self::new(SampleRate::Hz24000);

    /// The format with this rate.
    pub const fn new(rate: SampleRate) -> Self {
        Self { rate }
    }

    /// Samples per second of each channel.
    pub const fn rate(self) -> SampleRate {
        self.rate
    }

    /// How long `bytes` of this format last. An odd last byte counts for nothing.
    pub fn duration_of(self, bytes: usize) -> Duration {
        let samples = (bytes / Self::BYTES_PER_SAMPLE) as u64;
        Duration::from_nanos(samples * 1_000_000_000 / u64::from(self.rate.hz()))
    }

    /// How many bytes last for `duration`, rounded to the nearest whole sample.
    pub fn bytes_in(self, duration: Duration) -> usize {
        let nanos = duration.as_nanos() * u128::from(self.rate.hz());
        let samples = (nanos + 500_000_000) / 1_000_000_000;
        usize::try_from(samples).unwrap_or(usize::MAX / 2) * Self::BYTES_PER_SAMPLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_durations_convert_both_ways() {
        for rate in [SampleRate::Hz16000, SampleRate::Hz24000, SampleRate::Hz48000] {
            let format = AudioFormat::new(rate);
            for samples in [0usize, 1, 2, 3, 319, 320, 480, 16_001, 10_000_019] {
                let bytes = samples * 2;
                assert_eq!(format.bytes_in(format.duration_of(bytes)), bytes, "{rate:?} {samples}");
            }
        }
        assert_eq!(AudioFormat::SPEECH.bytes_in(Duration::from_millis(20)), 640);
    }
}
