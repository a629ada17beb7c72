//! The decision: closed lets calls through, open refuses, half-open probes with one.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// When it opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BreakerConfig {
    /// Failures within `window` that open it; at least 1. 3: one is chance, three in ten seconds
    /// are a pattern.
    pub failures: u32,
    /// How long a failure counts. 10 s.
    pub window: Duration,
    /// How long it stays open before a probe. 30 s: about what a server needs to restart and load
    /// its data.
    pub open_for: Duration,
    /// How long a probe may take before another is let through. 10 s: a caller that never came back
    /// must not hold it open forever.
    pub probe_timeout: Duration,
}

crate::with_fields!(BreakerConfig {
    with_failures => failures: u32,
    with_window => window: Duration,
    with_open_for => open_for: Duration,
    with_probe_timeout => probe_timeout: Duration,
});

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            window: Duration::from_secs(10),
            open_for: Duration::from_secs(30),
            probe_timeout: Duration::from_secs(10),
        }
    }
}

/// Where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls go through.
    Closed,
    /// Calls are refused until then.
    Open {
        /// When a probe may go through.
        until: Instant,
    },
    /// A probe is under way.
    HalfOpen {
        /// Since when.
        since: Instant,
    },
}

/// What is to be done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Let it through, and tell its outcome.
    Admit,
    /// Let it through as the one probe, and tell its outcome.
    Probe,
    /// Refuse it; a probe may go through after this time.
    Refuse {
        /// How long until then.
        retry_after: Duration,
    },
}

/// Counts failures.
#[derive(Debug, Clone)]
pub struct Breaker {
    config: BreakerConfig,
    state: BreakerState,
    failures: VecDeque<Instant>,
}

impl Breaker {
    /// Closed, with nothing against the dependency.
    pub fn new(config: BreakerConfig) -> Self {
        Self { config, state: BreakerState::Closed, failures: VecDeque::new() }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks for a call.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            BreakerState::Closed => Admission::Admit,
            BreakerState::Open { until } if until > now => {
                Admission::Refuse { retry_after: until.saturating_duration_since(now) }
            }
            BreakerState::HalfOpen { since } if since + self.config.probe_timeout > now => {
                Admission::Refuse {
                    retry_after: (since + self.config.probe_timeout).saturating_duration_since(now),
                }
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => {
                self.state = BreakerState::HalfOpen { since: now };
                Admission::Probe
            }
        }
    }

    /// A call succeeded. A call that was admitted before it opened proves nothing.
    pub fn succeed(&mut self, admission: Admission) {
        if admission == Admission::Probe && matches!(self.state, BreakerState::HalfOpen { .. }) {
            self.state = BreakerState::Closed;
            self.failures.clear();
        }
    }

    /// A call failed; true when that opened it.
    pub fn fail(&mut self, now: Instant, admission: Admission) -> bool {
        match self.state {
            BreakerState::HalfOpen { .. } if admission == Admission::Probe => self.open(now),
            BreakerState::Closed => {
                self.failures.push_back(now);
                while self.failures.front().is_some_and(|at| *at + self.config.window <= now) {
                    self.failures.pop_front();
                }
                self.failures.len() >= self.config.failures.max(1) as usize && self.open(now)
            }
            BreakerState::Open { .. } | BreakerState::HalfOpen { .. } => false,
        }
    }

    fn open(&mut self, now: Instant) -> bool {
        self.failures.clear();
        self.state = BreakerState::Open { until: now + self.config.open_for };
        true
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn three_failures_in_ten_seconds_open_it_and_a_probe_closes_it() {
        let (mut breaker, start) = (Breaker::new(BreakerConfig::default()), Instant::now());
        for (second, opened) in [(0, false), (1, false), (11, false), (12, false), (13, true)] {
            let now = start + second * SECOND;
            assert_eq!(breaker.admit(now), Admission::Admit);
            assert_eq!(breaker.fail(now, Admission::Admit), opened, "at {second} s");
        }
        assert_eq!(breaker.admit(start + 14 * SECOND), Admission::Refuse { retry_after: 29 * SECOND });
        assert_eq!(breaker.admit(start + 43 * SECOND), Admission::Probe);
        assert!(
            matches!(breaker.admit(start + 43 * SECOND), Admission::Refuse { .. }),
            "one probe at a time"
        );
        assert!(breaker.fail(start + 44 * SECOND, Admission::Probe), "it opens again");
        assert_eq!(breaker.admit(start + 74 * SECOND), Admission::Probe);
        breaker.succeed(Admission::Probe);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(!breaker.fail(start + 75 * SECOND, Admission::Admit), "old failures are forgiven");
    }

    #[test]
    fn a_late_outcome_of_a_call_from_before_changes_nothing() {
        let (mut breaker, now) = (Breaker::new(BreakerConfig::default()), Instant::now());
        (0..3).for_each(|_| {
            breaker.fail(now, Admission::Admit);
        });
        breaker.succeed(Admission::Admit);
        assert!(matches!(breaker.state(), BreakerState::Open { .. }));
        assert_eq!(breaker.admit(now + 30 * SECOND), Admission::Probe);
        breaker.succeed(Admission::Admit);
        assert!(matches!(breaker.state(), BreakerState::HalfOpen { .. }));
    }

    #[test]
    fn a_probe_that_never_comes_back_is_replaced() {
        let (mut breaker, now) = (Breaker::new(BreakerConfig::default()), Instant::now());
        (0..3).for_each(|_| {
            breaker.fail(now, Admission::Admit);
        });
        assert_eq!(breaker.admit(now + 30 * SECOND), Admission::Probe);
        assert!(matches!(breaker.admit(now + 39 * SECOND), Admission::Refuse { .. }));
        assert_eq!(breaker.admit(now + 40 * SECOND), Admission::Probe);
    }

    proptest! {
        /// While a dependency is down, it is called at most three times at first and once in thirty
        /// seconds after that.
        #[test]
        fn a_dependency_that_is_down_is_left_alone(gaps in prop::collection::vec(0u64..2000, 1..400)) {
            let (mut breaker, start) = (Breaker::new(BreakerConfig::default()), Instant::now());
            let (mut now, mut calls) = (start, Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                let admission = breaker.admit(now);
                if !matches!(admission, Admission::Refuse { .. }) {
                    calls.push(now);
                    breaker.fail(now, admission);
                }
            }
            for call in &calls {
                let later = calls.iter().filter(|at| **at >= *call && **at < *call + 10 * SECOND).count();
                prop_assert!(later <= 3, "{later} calls in ten seconds");
            }
        }
    }
}
