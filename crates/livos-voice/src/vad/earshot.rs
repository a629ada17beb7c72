//! The default detector: the `earshot` model, whose weights come with the crate.

use super::Vad;

/// Samples of 16 kHz audio that it scores at a time: 16 ms.
const WINDOW: usize = 256;

/// Scores speech by a small recurrent network, about 12 µs for each 16 ms.
#[derive(Default)]
pub struct Earshot(Box<earshot::Detector>);

impl Vad for Earshot {
    fn window(&self) -> usize {
        WINDOW
    }

    fn score(&mut self, samples: &[i16]) -> f32 {
        // The crate answers -1 for a window of another length.
        self.0.predict_i16(samples).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

impl std::fmt::Debug for Earshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Earshot")
    }
}
