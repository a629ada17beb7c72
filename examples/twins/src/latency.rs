//! How long a provider takes: profiles of seeded draws.
//!
//! `Zero` answers at once, so that what remains in a measurement is the framework itself. `Seed`
//! takes the time that providers take.

use std::time::Duration;

use crate::random::Random;

/// Which waiting times a twin imitates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// No waiting: framework overhead only.
    #[default]
    Zero,
    /// The waiting times of the real providers, drawn from the twin's seed.
    Seed,
}

impl Profile {
    /// The waiting times of this profile.
    pub const fn latency(self) -> Latency {
        match self {
            Self::Zero => Latency::ZERO,
            Self::Seed => Latency::SEED,
        }
    }
}

/// The waiting times of all providers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// From the end of speech to the final transcript.
    pub final_after_speech: Draw,
    /// From a request to flush to its answer, where the transcript was ready already.
    pub flush: Draw,
    /// From a model request to its first token.
    pub first_token: Draw,
    /// From text to the first byte of its audio.
    pub first_audio: Draw,
    /// The network's round trip, drawn once for each connection.
    pub round_trip: Draw,
}

impl Latency {
    /// Everything at once.
    pub const ZERO: Self = Self {
        final_after_speech: Draw::Zero,
        flush: Draw::Zero,
        first_token: Draw::Zero,
        first_audio: Draw::Zero,
        round_trip: Draw::Zero,
    };

    /// The providers' times. The speech figures are those that the providers publish; the 95th
    /// percentile of the first token was measured by others on the smallest Claude model.
    pub const SEED: Self = Self {
        final_after_speech: Draw::range(150, 300),
        flush: Draw::range(60, 120),
        first_token: Draw::lognormal(700, 1615, 500, 2000),
        first_audio: Draw::lognormal(60, 120, 40, 150),
        round_trip: Draw::range(50, 100),
    };
}

/// A distribution of durations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// Always nothing.
    Zero,
    /// Uniform between the two.
    Range {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// Lognormal through two percentiles, cut at both ends.
    Lognormal {
        /// The 50th percentile.
        p50: Duration,
        /// The 95th percentile.
        p95: Duration,
        /// Draws below are raised to this.
        min: Duration,
        /// Draws above are lowered to this.
        max: Duration,
    },
}

/// The 95th percentile of the normal distribution, in deviations.
const DEVIATIONS_AT_P95: f64 = 1.644_853_6;

impl Draw {
    /// Uniform between two numbers of milliseconds.
    pub const fn range(min: u64, max: u64) -> Self {
        Self::Range { min: Duration::from_millis(min), max: Duration::from_millis(max) }
    }

    /// Always this many milliseconds.
    pub const fn exactly(millis: u64) -> Self {
        Self::range(millis, millis)
    }

    /// Lognormal, all in milliseconds.
    pub const fn lognormal(p50: u64, p95: u64, min: u64, max: u64) -> Self {
        Self::Lognormal {
            p50: Duration::from_millis(p50),
            p95: Duration::from_millis(p95),
            min: Duration::from_millis(min),
            max: Duration::from_millis(max),
        }
    }

    /// One draw.
    pub fn sample(&self, random: &mut Random) -> Duration {
        match *self {
            Self::Zero => Duration::ZERO,
            Self::Range { min, max } => {
                Duration::from_secs_f64(random.between(min.as_secs_f64(), max.as_secs_f64()))
            }
            Self::Lognormal { p50, p95, min, max } => {
                let median = p50.as_secs_f64();
                let deviation = (p95.as_secs_f64() / median).ln() / DEVIATIONS_AT_P95;
                let drawn = median * (deviation * random.normal()).exp();
                Duration::from_secs_f64(drawn.clamp(min.as_secs_f64(), max.as_secs_f64()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(draw: Draw) -> Vec<u128> {
        let mut random = Random::new(1);
        let mut drawn: Vec<_> = (0..4000).map(|_| draw.sample(&mut random).as_millis()).collect();
        drawn.sort_unstable();
        drawn
    }

    #[test]
    fn the_first_token_has_the_published_median_and_stays_in_its_bounds() {
        let drawn = sorted(Latency::SEED.first_token);
        assert!((670..=730).contains(&drawn[2000]), "median {}", drawn[2000]);
        assert!(drawn[0] >= 500 && drawn[3999] <= 2000);
        assert!((1500..=1730).contains(&drawn[3800]), "p95 {}", drawn[3800]);
    }

    #[test]
    fn a_range_fills_its_bounds() {
        let drawn = sorted(Latency::SEED.final_after_speech);
        assert!((150..155).contains(&drawn[0]) && (295..=300).contains(&drawn[3999]));
        assert_eq!(Draw::exactly(40).sample(&mut Random::new(3)), Duration::from_millis(40));
        assert_eq!(Draw::Zero.sample(&mut Random::new(3)), Duration::ZERO);
    }
}
