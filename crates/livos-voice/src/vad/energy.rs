//! The fallback detector: loudness above a noise floor that it learns.
//!
//! It knows nothing about speech: a slammed door is voice to it. It needs no model and costs almost
//! nothing; the bench `vad_rates` prints what that is worth in noise.

use super::Vad;

/// Samples of 16 kHz audio that it scores at a time: 10 ms.
const WINDOW: usize = 160;
/// Decibels above the floor at which the score is one half. 9 dB: quiet speech in a quiet room is
/// some 20 dB above it.
const MARGIN_DB: f32 = 9.0;
/// Decibels from certainty of silence to certainty of speech.
const WIDTH_DB: f32 = 12.0;
/// The quietest floor, in dB of full scale: below it lies the noise of a good microphone.
const LOWEST_FLOOR_DB: f32 = -65.0;
/// The loudest floor: a room louder than this drowns speech anyway.
const HIGHEST_FLOOR_DB: f32 = -25.0;
/// How fast the floor follows quieter audio, a window.
const FALL: f32 = 0.2;
/// How fast it rises, in dB a window: 2 dB a second, so that a long vowel does not become the
/// floor.
const RISE_DB: f32 = 0.02;

/// Scores loudness above the noise floor.
#[derive(Debug, Clone)]
pub struct Energy {
    floor_db: f32,
}

impl Default for Energy {
    fn default() -> Self {
        Self { floor_db: -50.0 }
    }
}

impl Vad for Energy {
    fn window(&self) -> usize {
        WINDOW
    }

    fn score(&mut self, samples: &[i16]) -> f32 {
        let sum: f32 = samples.iter().map(|&s| (f32::from(s) / 32_768.0).powi(2)).sum();
        let level = 10.0 * (sum / samples.len().max(1) as f32 + 1e-12).log10();
        if level < self.floor_db {
            self.floor_db += (level - self.floor_db) * FALL;
        } else {
            self.floor_db += RISE_DB;
        }
        self.floor_db = self.floor_db.clamp(LOWEST_FLOOR_DB, HIGHEST_FLOOR_DB);
        (0.5 + (level - self.floor_db - MARGIN_DB) / WIDTH_DB).clamp(0.0, 1.0)
    }

    fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(amplitude: i16, seed: u32) -> Vec<i16> {
        let mut state = seed;
        (0..WINDOW)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((state >> 16) as i16 / 2) % amplitude.max(1)
            })
            .collect()
    }

    #[test]
    fn it_learns_a_steady_noise_and_hears_what_is_louder() {
        let mut energy = Energy::default();
        let scores: Vec<f32> = (0..3000).map(|n| energy.score(&noise(600, n))).collect();
        assert!(scores[2999] < 0.3, "{}", scores[2999]);
        assert!(energy.score(&noise(9_000, 1)) > 0.9);
    }

    #[test]
    fn digital_silence_is_quiet() {
        let mut energy = Energy::default();
        assert!((0..100).all(|_| energy.score(&[0; WINDOW]) == 0.0));
    }
}
