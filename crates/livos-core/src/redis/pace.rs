//! How often a server may be connected to: as one likes while it answers, and more and more seldom
//! once it does not.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

use crate::backoff::{Backoff, BackoffConfig};

/// Lets attempts to connect through. All connections of a pool share one, so a hundred callers of a
/// dead server are one caller to it.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    backoff: Backoff,
    /// Before then nobody connects; none while the server answers.
    next: Option<Instant>,
}

impl Pace {
    /// With waits from 100 ms to 1 s: a server that restarts is found within a second, and one that
    /// is gone is asked one or two times a second.
    pub(super) fn new(seed: u64) -> Self {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let config = BackoffConfig { first, longest, ..BackoffConfig::default() };
        Self { backoff: Backoff::new(config, seed), next: None }
    }

    /// Whether one may connect now; where not, after which time.
    pub(super) fn admit(&mut self, now: Instant) -> Result<(), Duration> {
        match self.next {
            Some(next) if next > now => Err(next.saturating_duration_since(now)),
            // The next one waits from here on, however long this attempt takes.
            Some(_) => {
                self.wait(now);
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Notes that an attempt failed.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.next.is_none() {
            self.wait(now);
        }
    }

    /// Notes that an attempt succeeded.
    pub(super) fn connected(&mut self) {
        self.next = None;
        self.backoff.reset();
    }

    fn wait(&mut self, now: Instant) {
        self.next = Some(now + self.backoff.next_delay());
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use super::*;

    /// A hundred callers a millisecond; answers in which second each attempt fell.
    fn attempts(seconds: u64, seed: u64) -> Vec<u64> {
        let (start, mut pace) = (Instant::now(), Pace::new(seed));
        let mut attempts = Vec::new();
        for at in 0..seconds * 1000 {
            let now = start + Duration::from_millis(at);
            for _ in 0..100 {
                if pace.admit(now).is_ok() {
                    attempts.push(at / 1000);
                    pace.failed(now);
                }
            }
        }
        attempts
    }

    #[test]
    fn a_server_that_is_gone_is_not_stormed() {
        for seed in 0..50 {
            let attempts = attempts(60, seed);
            let most = (0..60).map(|second| attempts.iter().filter(|at| **at == second).count()).max();
            assert!(most.is_some_and(|most| most <= 7), "seed {seed}: {most:?} in one second");
            assert!((60..130).contains(&attempts.len()), "seed {seed}: {} in a minute", attempts.len());
        }
    }

    #[test]
    fn a_server_that_answers_is_connected_to_at_once() {
        let (now, mut pace) = (Instant::now(), Pace::new(1));
        pace.failed(now);
        assert!(pace.admit(now).is_err());
        pace.connected();
        assert_eq!((pace.admit(now), pace.admit(now)), (Ok(()), Ok(())));
    }
}
