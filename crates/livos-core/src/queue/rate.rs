//! A bucket of tokens as one number: the time at which it will be full again (the generic cell rate
//! algorithm).
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::Rate;

/// In microseconds since 1970, so that rates above a thousand a second are kept as well.
pub(super) type Micros = u64;

/// When the next lease may be, given when the bucket will be full.
pub(super) fn free_at(rate: Rate, full_at: Micros, now: Micros) -> Micros {
    let (per, each) = spans(rate);
    // A clock that was set back must not close the bucket for longer than it takes to fill.
    let full_at = full_at.min(now + per);
    full_at.saturating_sub(per - each)
}

/// When the bucket will be full after a lease at `now`.
pub(super) fn take(rate: Rate, full_at: Micros, now: Micros) -> Micros {
    let (per, each) = spans(rate);
    full_at.min(now + per).max(now) + each
}

/// How long an empty bucket takes to fill, and how long one token does.
fn spans(rate: Rate) -> (Micros, Micros) {
    let per = u64::try_from(rate.per.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
    (per, per / u64::from(rate.leases.max(1)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_followed_by_an_even_rate() {
        let rate = Rate { leases: 3, per: Duration::from_secs(3) };
        let (mut full_at, mut leased) = (0, Vec::new());
        for now in (1_000_000_000..1_006_000_000).step_by(100_000) {
            if free_at(rate, full_at, now) <= now {
                full_at = take(rate, full_at, now);
                leased.push((now - 1_000_000_000) / 100_000);
            }
        }
        assert_eq!(leased, [0, 1, 2, 10, 20, 30, 40, 50]);
    }

    #[test]
    fn a_clock_that_was_set_back_closes_it_for_one_filling_at_most() {
        let rate = Rate { leases: 1, per: Duration::from_secs(60) };
        let full_at = take(rate, 0, 10_000_000_000);
        assert_eq!(free_at(rate, full_at, 1_000_000), 61_000_000);
    }
}
