//! Changing the sample rate of a stream, frames of any length in and out.
//!
//! Rubato's FFT resampler in chunks of 10 ms: it is the cheapest of its kinds (a few microseconds a
//! chunk) and its own delay, half a chunk, is cut off the front of the stream, so that a position
//! in the output is the same position in the input. Samples wait for their chunk to fill: at most
//! 10 ms, and none for frames of 20 ms.

use audioadapter_buffers::number_to_float::InterleavedNumbers;
use audioadapter_sample::sample::I16_LE;
use bytes::{Bytes, BytesMut};
use rubato::{Fft, FixedSync, Resampler as _};

use super::{AudioFormat, Frame, SampleRate};

/// Chunks a second.
const CHUNKS_A_SECOND: u32 = 100;

/// Changes the rate of one stream. Not needed, and refused, where the rates are equal.
pub struct Resampler {
    inner: Fft<f32>,
    from: AudioFormat,
    to: AudioFormat,
    /// The chunk that is filling, and the one that was made of it, as bytes.
    pending: Vec<u8>,
    chunk_in: usize,
    chunk_out: usize,
    /// Bytes of the resampler's own delay that are still to be cut off the output.
    skip: usize,
    /// Bytes taken in and given out since the stream began.
    taken: u64,
    given: u64,
    out: BytesMut,
}

/// These two rates cannot be converted.
#[derive(Debug, thiserror::Error)]
#[error("audio can't be converted from {from} to {to} Hz")]
pub struct UnsupportedRates {
    from: u32,
    to: u32,
    source: Option<rubato::ResamplerConstructionError>,
}

impl Resampler {
    /// From one rate to another.
    pub fn new(from: SampleRate, to: SampleRate) -> Result<Self, UnsupportedRates> {
        let refuse = |source| UnsupportedRates { from: from.hz(), to: to.hz(), source };
        if from == to {
            return Err(refuse(None));
        }
        let (hz_in, hz_out) = (from.hz() as usize, to.hz() as usize);
        let samples = (from.hz() / CHUNKS_A_SECOND) as usize;
        let inner = Fft::new_custom(
            hz_in,
            hz_out,
            samples,
            1,
            1,
            rubato::WindowFunction::BlackmanHarris2,
            FixedSync::Both,
        )
        .map_err(|error| refuse(Some(error)))?;
        let (chunk_in, chunk_out) = (inner.input_frames_max() * 2, inner.output_frames_max() * 2);
        Ok(Self {
            skip: inner.output_delay() * 2,
            inner,
            from: AudioFormat::new(from),
            to: AudioFormat::new(to),
            pending: Vec::with_capacity(chunk_in),
            chunk_in,
            chunk_out,
            taken: 0,
            given: 0,
            out: BytesMut::new(),
        })
    }

    /// The format that comes out.
    pub fn output_format(&self) -> AudioFormat {
        self.to
    }

    /// Converts the next frame of the stream; what comes out may be empty, or hold samples of
    /// earlier frames. Steady frames allocate nothing, as long as frames that came out before have
    /// been dropped.
    ///
    /// A frame of another rate than the stream's is converted as if it had the stream's.
    pub fn push(&mut self, frame: &Frame) -> Frame {
        debug_assert_eq!(frame.format(), self.from);
        self.taken += frame.bytes().len() as u64;
        self.feed(frame.bytes());
        self.take()
    }

    /// Ends the stream: answers the samples that were still inside, and begins a new stream.
    pub fn flush(&mut self) -> Frame {
        let due = self.taken * u64::from(self.to.rate().hz()) / u64::from(self.from.rate().hz()) / 2 * 2;
        let silence = vec![0u8; self.chunk_in];
        while self.given + (self.out.len() as u64) < due {
            let missing = self.chunk_in - self.pending.len();
            self.feed(&silence[..missing]);
        }
        // The silence that pushed the last samples out is not part of the stream.
        self.out.truncate((due - self.given) as usize);
        let last = self.take();
        self.reset();
        last
    }

    /// Forgets what is inside, and begins a new stream.
    pub fn reset(&mut self) {
        self.inner.reset();
        self.pending.clear();
        self.out.clear();
        self.skip = self.inner.output_delay() * 2;
        (self.taken, self.given) = (0, 0);
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.pending.is_empty() && bytes.len() >= self.chunk_in {
                let (chunk, rest) = bytes.split_at(self.chunk_in);
                convert(&mut self.inner, chunk, &mut self.out, self.chunk_out);
                bytes = rest;
            } else {
                let (part, rest) = bytes.split_at(bytes.len().min(self.chunk_in - self.pending.len()));
                self.pending.extend_from_slice(part);
                bytes = rest;
                if self.pending.len() < self.chunk_in {
                    continue;
                }
                convert(&mut self.inner, &self.pending, &mut self.out, self.chunk_out);
                self.pending.clear();
            }
            let cut = self.skip.min(self.out.len());
            bytes::Buf::advance(&mut self.out, cut);
            self.skip -= cut;
        }
    }

    fn take(&mut self) -> Frame {
        let bytes: Bytes = self.out.split().freeze();
        self.given += bytes.len() as u64;
        // Chunks are whole samples, so the length is even and the frame is never refused.
        Frame::new(self.to, bytes).unwrap_or_else(|_| Frame::empty(self.to))
    }
}

/// Converts one whole chunk onto the end of `out`.
fn convert(resampler: &mut Fft<f32>, chunk: &[u8], out: &mut BytesMut, room: usize) {
    let at = out.len();
    out.resize(at + room, 0);
    let input = InterleavedNumbers::<&[I16_LE], f32>::new_from_bytes(chunk, 1, chunk.len() / 2);
    let output = InterleavedNumbers::<&mut [I16_LE], f32>::new_from_bytes_mut(&mut out[at..], 1, room / 2);
    // Both sides have the sizes that the resampler named, so neither the views nor the conversion
    // can fail; were they to, the chunk is silence.
    if let (Ok(input), Ok(mut output)) = (input, output)
        && let Err(error) = resampler.process_into_buffer(&input, &mut output, None)
    {
        tracing::error!(%error, "a chunk of audio could not be resampled");
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("from", &self.from).field("to", &self.to).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sine(rate: SampleRate, hz: f64, samples: usize) -> Vec<u8> {
        (0..samples)
            .flat_map(|n| {
                let value = (n as f64 * hz * std::f64::consts::TAU / f64::from(rate.hz())).sin() * 12_000.0;
                (value.round() as i16).to_le_bytes()
            })
            .collect()
    }

    fn resample(from: SampleRate, to: SampleRate, bytes: &[u8], chunks: &[usize]) -> Vec<u8> {
        let (mut resampler, mut rest, mut out) = (Resampler::new(from, to).unwrap(), bytes, Vec::new());
        for samples in chunks.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (part, after) = rest.split_at((samples * 2).min(rest.len()));
            rest = after;
            let frame = Frame::new(AudioFormat::new(from), Bytes::copy_from_slice(part)).unwrap();
            out.extend_from_slice(resampler.push(&frame).bytes());
        }
        out.extend_from_slice(resampler.flush().bytes());
        out
    }

    /// The root mean square difference, as a share of the amplitude, away from the ends.
    fn error(expected: &[u8], found: &[u8], margin: usize) -> f64 {
        let sample = |bytes: &[u8], n: usize| f64::from(i16::from_le_bytes([bytes[n * 2], bytes[n * 2 + 1]]));
        let range = margin..expected.len() / 2 - margin;
        let count = range.len() as f64;
        let sum: f64 = range.map(|n| (sample(expected, n) - sample(found, n)).powi(2)).sum();
        (sum / count).sqrt() / 12_000.0
    }

    #[test]
    fn a_tone_stays_where_it_was_at_the_new_rate() {
        for (from, to) in
            [(SampleRate::Hz48000, SampleRate::Hz16000), (SampleRate::Hz24000, SampleRate::Hz48000)]
        {
            for hz in [200.0, 1000.0, 3000.0, 6000.0] {
                let input = sine(from, hz, from.hz() as usize);
                let expected = sine(to, hz, to.hz() as usize);
                let found = resample(from, to, &input, &[from.hz() as usize / 50]);
                assert_eq!(found.len(), expected.len());
                let error = error(&expected, &found, 800);
                assert!(error < 0.01, "{from:?} to {to:?}, {hz} Hz: {error}");
            }
        }
    }

    #[test]
    fn a_round_trip_keeps_speech_within_one_percent() {
        let input = sine(SampleRate::Hz16000, 1500.0, 16_000);
        let up = resample(SampleRate::Hz16000, SampleRate::Hz48000, &input, &[320]);
        let back = resample(SampleRate::Hz48000, SampleRate::Hz16000, &up, &[960]);
        assert!(error(&input, &back, 800) < 0.01);
    }

    #[test]
    fn what_cannot_be_heard_at_the_lower_rate_does_not_fold_back() {
        let input = sine(SampleRate::Hz48000, 12_000.0, 48_000);
        let found = resample(SampleRate::Hz48000, SampleRate::Hz16000, &input, &[960]);
        let silence = vec![0u8; found.len()];
        assert!(error(&silence, &found, 800) < 0.01);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn any_cutting_into_frames_gives_the_same_samples(samples in 1usize..5_000, chunks in prop::collection::vec(1usize..1_500, 1..10)) {
            let input = sine(SampleRate::Hz48000, 440.0, samples);
            let whole = resample(SampleRate::Hz48000, SampleRate::Hz16000, &input, &[samples]);
            prop_assert_eq!(whole.len(), samples / 3 * 2);
            prop_assert_eq!(resample(SampleRate::Hz48000, SampleRate::Hz16000, &input, &chunks), whole);
        }
    }
}
