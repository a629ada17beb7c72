//! Audio as it moves through the pipeline: mono 16-bit PCM of a known rate, shared and never copied per stage.

pub mod format;
pub mod frame;

pub use format::{AudioFormat, SampleRate};
pub use frame::{Frame, OddLength};
