//! A slice of audio of a known format over shared bytes: cloning and cutting it copies no sample.

use std::time::Duration;

use bytes::Bytes;

use super::AudioFormat;

/// A slice of audio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    format: AudioFormat,
    bytes: Bytes,
}

/// The bytes do not hold a whole number of 16-bit samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("audio of {0} bytes does not hold a whole number of 16-bit samples")]
pub struct OddLength(pub usize);

impl Frame {
    /// Audio of `format` in `bytes`, which are shared and not copied.
    pub fn new(format: AudioFormat, bytes: Bytes) -> Result<Self, OddLength> {
        if !bytes.len().is_multiple_of(AudioFormat::BYTES_PER_SAMPLE) {
            return Err(OddLength(bytes.len()));
        }
        Ok(Self { format, bytes })
    }

    /// Audio of `format` from samples.
    ///
    /// ```
    /// use livos_voice::audio::{AudioFormat, Frame};
    ///
    /// let silence = Frame::from_samples(AudioFormat::VOICE, [0; 480]);
    /// assert_eq!(silence.duration().as_millis(), 20);
    /// ```
    pub fn from_samples(format: AudioFormat, samples: impl IntoIterator<Item = i16>) -> Self {
        Self { format, bytes: samples.into_iter().flat_map(i16::to_le_bytes).collect::<Vec<u8>>().into() }
    }

    /// A frame without samples.
    pub fn empty(format: AudioFormat) -> Self {
        Self { format, bytes: Bytes::new() }
    }

    /// Sample rate and encoding of the audio.
    pub fn format(&self) -> AudioFormat {
        self.format
    }

    /// The samples as little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, without the format.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// How many samples it holds.
    pub fn samples(&self) -> usize {
        self.bytes.len() / AudioFormat::BYTES_PER_SAMPLE
    }

    /// True when it holds no sample.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How long it lasts.
    pub fn duration(&self) -> Duration {
        self.format.duration_of(self.bytes.len())
    }

    /// The samples, read in place.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = i16> + '_ {
        self.bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
    }

    /// The first `at` of the audio, and the rest; neither is copied. A cut past the end leaves the
    /// rest empty.
    pub fn split_at(&self, at: Duration) -> (Self, Self) {
        let cut = self.format.bytes_in(at).min(self.bytes.len());
        let part = |bytes| Self { format: self.format, bytes };
        (part(self.bytes.slice(..cut)), part(self.bytes.slice(cut..)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_every_sample_and_copies_none() {
        let bytes = Bytes::from(vec![7u8; 640]);
        let frame = Frame::new(AudioFormat::SPEECH, bytes.clone()).unwrap();
        let (head, tail) = frame.split_at(Duration::from_millis(5));
        assert_eq!((head.samples(), tail.samples()), (80, 240));
        assert_eq!(tail.bytes().as_ptr(), bytes[160..].as_ptr());
        assert!(frame.split_at(Duration::from_secs(1)).1.is_empty());
    }

    #[test]
    fn half_a_sample_is_refused() {
        assert_eq!(Frame::new(AudioFormat::VOICE, Bytes::from_static(&[1, 2, 3])), Err(OddLength(3)));
    }
}
