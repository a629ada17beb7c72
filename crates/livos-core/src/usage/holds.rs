//! What is set aside and not yet settled: one value in the store for each user.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Amounts;
use crate::time::Timestamp;

/// All that one user's processes have set aside. Each hold has an end, so that what a process set
/// aside comes back when it has crashed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Holds {
    holds: Vec<Held>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    id: String,
    until: Timestamp,
    amounts: Amounts,
}

impl Holds {
    /// As they are at `now`: without those that have ended. A hold lasts for no longer than
    /// `lifetime` from now, even when the clock was set back since it was made.
    pub(super) fn living(mut self, now: Timestamp, lifetime: Duration) -> Self {
        self.holds.retain(|held| held.until > now);
        self.holds.iter_mut().for_each(|held| held.until = held.until.min(now.plus(lifetime)));
        self
    }

    /// Everything that is set aside.
    pub(super) fn total(&self) -> Amounts {
        self.holds.iter().fold(Amounts::default(), |total, held| total.plus(&held.amounts))
    }

    pub(super) fn len(&self) -> usize {
        self.holds.len()
    }

    /// Puts a hold in place of the one with its id, if there is one.
    pub(super) fn set(&mut self, id: &str, until: Timestamp, amounts: Amounts) {
        self.remove(id);
        self.holds.push(Held { id: id.to_owned(), until, amounts });
    }

    /// Ends a hold; false when it was not there any more.
    pub(super) fn remove(&mut self, id: &str) -> bool {
        let before = self.holds.len();
        self.holds.retain(|held| held.id != id);
        self.holds.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::Metric;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(0).plus(Duration::from_secs(seconds))
    }

    #[test]
    fn a_hold_ends_at_its_time_and_no_clock_makes_it_last() {
        let lifetime = Duration::from_secs(60);
        let mut holds = Holds::default();
        holds.set("a", at(1060), Amounts::of(Metric::Turns, 1));
        holds.set("b", at(1030), Amounts::of(Metric::Turns, 2));
        assert_eq!(holds.clone().living(at(1029), lifetime).total(), Amounts::of(Metric::Turns, 3));
        assert_eq!(holds.clone().living(at(1030), lifetime).total(), Amounts::of(Metric::Turns, 1));
        // The clock was set back by an hour.
        let back = holds.living(at(0), lifetime);
        assert_eq!(
            (back.clone().living(at(59), lifetime).len(), back.living(at(60), lifetime).len()),
            (2, 0)
        );
    }

    #[test]
    fn a_hold_has_one_place_and_ends_once() {
        let mut holds = Holds::default();
        holds.set("a", at(1), Amounts::of(Metric::Turns, 1));
        holds.set("a", at(2), Amounts::of(Metric::Turns, 5));
        assert_eq!(holds.total(), Amounts::of(Metric::Turns, 5));
        assert!(holds.remove("a") && !holds.remove("a"));
    }
}
