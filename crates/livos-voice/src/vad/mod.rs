//! Voice activity detection: is somebody speaking? It proposes; turn taking decides.

mod detector;
mod earshot;
mod energy;
mod gate;
#[cfg(feature = "silero")]
mod silero;

use serde::{Deserialize, Serialize};

#[cfg(feature = "silero")]
pub use self::silero::{LoadError, Silero};
pub use self::{
    detector::{Detector, DetectorConfig},
    earshot::Earshot,
    energy::Energy,
    gate::Gate,
};

/// A detector scores short windows of 16 kHz audio.
///
/// ```
/// use livos_voice::vad::Vad;
///
/// /// Takes the share of loud samples for the probability of speech.
/// struct Loudness;
///
/// impl Vad for Loudness {
///     fn window(&self) -> usize {
///         320 // 20 ms at 16 kHz
///     }
///
///     fn score(&mut self, samples: &[i16]) -> f32 {
///         let loud = samples.iter().filter(|sample| sample.unsigned_abs() > 1000).count();
///         loud as f32 / samples.len() as f32
///     }
///
///     fn reset(&mut self) {}
/// }
///
/// assert_eq!(Loudness.score(&[2000; 320]), 1.0);
/// ```
pub trait Vad: Send {
    /// Samples of one window.
    fn window(&self) -> usize;
    /// The probability, 0 to 1, that this window holds speech. `samples` has exactly
    /// [`Vad::window`] samples.
    fn score(&mut self, samples: &[i16]) -> f32;
    /// Forgets what was heard: the next window starts a new stream.
    fn reset(&mut self);
}

/// What a detector makes of the audio over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum VadState {
    /// Nobody speaks.
    #[default]
    Quiet,
    /// Perhaps speech; not yet long enough to be sure.
    Starting,
    /// Somebody speaks.
    Speaking,
    /// Perhaps the end of it.
    Stopping,
}
