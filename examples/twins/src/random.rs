//! The one source of chance: a seeded generator that can be split by name.
//!
//! A twin answers several connections at once. If they drew from one stream, the order of polling
//! would change every draw; so each connection derives its own stream from the seed and its number.

use rand::{Rng, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

/// A seeded stream of random draws.
#[derive(Debug, Clone)]
pub struct Random(SmallRng);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// An independent stream for the `index`-th thing of the kind `label`.
    pub fn derive(seed: u64, label: &str, index: u64) -> Self {
        // FNV-1a, because the standard hasher may change between releases and would change every
        // draw with it.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
        for byte in label.bytes().chain(index.to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Self::new(hash)
    }

    /// Uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// Uniform in `low..high`; `low` where the range is empty.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low).max(0.0) * self.unit()
    }

    /// Uniform in `0..bound`; 0 where the bound is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.0.random_range(0..bound) }
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.0.random()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_streams_differ() {
        let draws = |mut random: Random| (0..8).map(|_| random.below(1000)).collect::<Vec<_>>();
        assert_eq!(draws(Random::derive(7, "stt", 1)), draws(Random::derive(7, "stt", 1)));
        assert_ne!(draws(Random::derive(7, "stt", 1)), draws(Random::derive(7, "stt", 2)));
        assert_ne!(draws(Random::derive(7, "stt", 1)), draws(Random::derive(7, "tts", 1)));
        assert_ne!(draws(Random::derive(7, "stt", 1)), draws(Random::derive(8, "stt", 1)));
    }
}
