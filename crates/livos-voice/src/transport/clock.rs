//! Where the peer's clock stands against ours.
//!
//! A message that says "at 12 345 ms of my clock" was sent a network delay before it arrives. The
//! smallest difference seen between the two clocks belongs to the fastest message; with it every
//! time of the peer is placed on our clock, without the jitter of the message that told it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

/// How fast the estimate may rise: 0.5 ms a second, five times the drift of a poor crystal.
const DRIFT: f64 = 0.000_5;

/// Places the peer's times on our clock.
#[derive(Debug, Clone)]
pub struct PeerClock {
    origin: Instant,
    /// Our milliseconds since `origin` minus the peer's, and when that was seen.
    offset: Option<(f64, Instant)>,
}

impl PeerClock {
    /// Nothing is known of the peer's clock yet.
    pub fn new(origin: Instant) -> Self {
        Self { origin, offset: None }
    }

    /// Our clock as it is told to the peer: milliseconds since `origin`.
    pub fn ours(&self, at: Instant) -> f64 {
        at.saturating_duration_since(self.origin).as_secs_f64() * 1000.0
    }

    /// A message that left at `at_ms` of the peer's clock arrived `now`.
    pub fn saw(&mut self, now: Instant, at_ms: f64) {
        let sample = self.ours(now) - at_ms;
        let offset = match self.offset {
            Some((offset, seen)) => {
                let elapsed = now.saturating_duration_since(seen).as_secs_f64() * 1000.0;
                sample.min(offset + elapsed * DRIFT)
            }
            None => sample,
        };
        self.offset = Some((offset, now));
    }

    /// `at_ms` of the peer's clock on ours: never after `now`, never more than `oldest` before it,
    /// whatever the peer claims.
    pub fn place(&self, now: Instant, at_ms: f64, oldest: Duration) -> Instant {
        let Some((offset, _)) = self.offset else { return now };
        let age = (self.ours(now) - (at_ms + offset)).clamp(0.0, oldest.as_secs_f64() * 1000.0);
        // A comparison with NaN clamps to NaN, which no peer can send, but the clock must not fail
        // on.
        let age = if age.is_finite() { age } else { 0.0 };
        now.checked_sub(Duration::from_secs_f64(age / 1000.0)).unwrap_or(now)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_is_placed_by_the_fastest_one() {
        let origin = Instant::now();
        let at = |ms: u64| origin + Duration::from_millis(ms);
        let mut clock = PeerClock::new(origin);
        assert_eq!(clock.place(at(10), 5.0, Duration::from_secs(1)), at(10));
        // The peer's clock is 5000 ahead, and the fastest message takes 20 ms.
        clock.saw(at(120), 5100.0);
        clock.saw(at(400), 5200.0);
        let placed = clock.place(at(900), 5700.0, Duration::from_secs(1));
        assert!(
            placed.duration_since(at(720)) < Duration::from_millis(1),
            "{:?}",
            placed.duration_since(origin)
        );
    }

    #[test]
    fn no_claim_of_the_peer_leaves_the_bounds() {
        let now = Instant::now() + Duration::from_secs(100);
        let mut clock = PeerClock::new(now);
        for claim in [f64::MAX, f64::MIN, 0.0, -1e300, f64::NAN, f64::INFINITY] {
            clock.saw(now, claim);
            for told in [0.0, f64::MAX, f64::MIN, f64::NAN] {
                let placed = clock.place(now, told, Duration::from_secs(5));
                assert!(placed <= now && now.duration_since(placed) <= Duration::from_secs(5));
            }
        }
    }
}
