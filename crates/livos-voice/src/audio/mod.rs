//! Audio as it moves through the pipeline: mono 16-bit PCM of a known rate, shared and never copied
//! per stage.
//!
//! Three copies remain, and each is counted by the bench `frame_path`: resampling, decoding base64,
//! and keeping audio in a [`Ring`] in case a connection breaks.

pub mod format;
pub mod frame;
pub mod resample;
pub mod ring;

pub use format::{AudioFormat, SampleRate};
pub use frame::{Frame, OddLength};
pub use resample::Resampler;
pub use ring::Ring;
