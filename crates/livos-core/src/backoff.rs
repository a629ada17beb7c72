//! Growing, jittered waits between attempts, so that many clients of a provider that comes back do
//! not come back together.

use std::time::Duration;

/// How waits grow.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// The first wait, before jitter. 1 s: long enough for a restart behind a load balancer, short
    /// enough for a conversation.
    pub first: Duration,
    /// The longest wait, before jitter. 30 s: a provider that is down for long is asked twice a
    /// minute.
    pub longest: Duration,
    /// How much of each wait is drawn at random, 0 to 1. 0.5: half of it is certain, so no client
    /// hammers, and half spreads the herd.
    pub jitter: f64,
}

crate::with_fields!(BackoffConfig {
    with_first => first: Duration,
    with_longest => longest: Duration,
    with_jitter => jitter: f64,
});

impl Default for BackoffConfig {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(30), jitter: 0.5 }
    }
}

/// Doubling waits with jitter: with the default 1, 2, 4 … 30 s, each shortened by up to half.
#[derive(Debug, Clone)]
pub struct Backoff {
    config: BackoffConfig,
    next: Duration,
    random: Random,
}

impl Backoff {
    /// Waits by `config`, jittered from `seed`. A jitter outside 0 to 1 is brought into it.
    pub fn new(config: BackoffConfig, seed: u64) -> Self {
        Self { config, next: config.first, random: Random(seed) }
    }

    /// The wait after this many failures, from 1, for callers that keep no series: any worker may
    /// try a job again.
    pub fn delay_of(config: BackoffConfig, failures: u32, seed: u64) -> Duration {
        let doubled = config.first.saturating_mul(1 << failures.saturating_sub(1).min(30));
        Self { next: doubled.min(config.longest), ..Self::new(config, seed) }.next_delay()
    }

    /// The next wait; each is twice the one before, up to the longest.
    pub fn next_delay(&mut self) -> Duration {
        let base = self.next.min(self.config.longest);
        self.next = (base * 2).min(self.config.longest);
        base.mul_f64(1.0 - self.config.jitter.clamp(0.0, 1.0) * self.random.next())
    }

    /// A wait drawn between zero and `longest`, outside the series.
    pub fn jitter_up_to(&mut self, longest: Duration) -> Duration {
        longest.mul_f64(self.random.next())
    }

    /// Begins again with the first wait.
    pub fn reset(&mut self) {
        self.next = self.config.first;
    }
}

/// SplitMix64 (<https://prng.di.unimi.it/splitmix64.c>): enough to spread waits, and no dependency.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    /// The next number from 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        // A double holds 53 bits exactly.
        (mixed >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_begin_again() {
        let mut backoff = Backoff::new(BackoffConfig { jitter: 0.0, ..BackoffConfig::default() }, 1);
        let seconds: Vec<u64> = (0..7).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        backoff.reset();
        assert_eq!(backoff.next_delay(), Duration::from_secs(1));
        let config = BackoffConfig { jitter: 0.0, ..BackoffConfig::default() };
        let alone: Vec<u64> =
            (0..8).map(|failures| Backoff::delay_of(config, failures, 1).as_secs()).collect();
        assert_eq!(alone, [1, 1, 2, 4, 8, 16, 30, 30]);
    }

    #[test]
    fn jitter_shortens_a_wait_by_at_most_half_and_differs_by_seed() {
        let delays = |seed| {
            let mut backoff = Backoff::new(BackoffConfig::default(), seed);
            (0..20).map(|_| backoff.next_delay()).collect::<Vec<_>>()
        };
        assert_ne!(delays(1), delays(2));
        for (delay, whole) in delays(3).iter().zip([1u64, 2, 4, 8, 16, 30]) {
            assert!(
                *delay <= Duration::from_secs(whole) && *delay >= Duration::from_secs(whole) / 2,
                "{delay:?}"
            );
        }
    }
}
