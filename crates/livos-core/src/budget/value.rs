//! The budget as a value.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use crate::time::{Timestamp, UtcDay};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// Milliseconds of audio sent to speech to text.
    AudioMs,
    /// Characters sent to text to speech.
    Characters,
    /// Tokens read and written by a model.
    Tokens,
    /// Millionths of a dollar.
    MicroDollars,
}

impl Unit {
    /// A name for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AudioMs => "audio_ms",
            Self::Characters => "characters",
            Self::Tokens => "tokens",
            Self::MicroDollars => "micro_dollars",
        }
    }
}

/// Over which time a limit counts. All of them end at instants in UTC, the same for everybody; only
/// how they are shown knows a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// A UTC day. It resets at midnight UTC.
    Day,
    /// Monday to Sunday in UTC. It resets on Monday at midnight UTC.
    Week,
    /// The last five hours, in slots of ten minutes. It never resets as a whole: what was
    /// spent leaves it slot by slot.
    Window,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Day, Self::Week, Self::Window];

    /// A name for logs, metrics and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Window => "window",
        }
    }

    const fn renewal(self) -> &'static str {
        match self {
            Self::Day => "the day's budget of {} is spent; it begins anew at midnight UTC",
            Self::Week => "the week's budget of {} is spent; it begins anew on Monday at midnight UTC",
            Self::Window => "the five-hour budget of {} is spent; it comes back bit by bit",
        }
    }
}

/// How much of a unit one period may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// From here on reservations answer [`Level::Warn`].
    pub warn: u64,
    /// Nothing is reserved beyond this.
    pub stop: u64,
}

impl Limit {
    /// Stops at `stop` and warns from four fifths of it.
    pub const fn stop_at(stop: u64) -> Self {
        Self { warn: stop / 5 * 4, stop }
    }
}

/// How near the limit a reservation came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Below the warning.
    Ok,
    /// At the warning or above it.
    Warn,
}

/// A limit would be passed; nothing was reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", period.renewal().replace("{}", unit.name()))]
pub struct Exhausted {
    /// Of which unit.
    pub unit: Unit,
    /// Over which time.
    pub period: Period,
    /// When the limit resets; of the five-hour window, when the first of what was spent leaves
    /// it.
    pub resets_at: Timestamp,
}

/// Why a [`Meter`](super::Meter) did not admit something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAdmitted {
    /// A limit is reached.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// What was drawn from the store is used up, and more is being fetched: ask again after
    /// [`Meter::topped_up`](super::Meter::topped_up). No limit is reached.
    #[error("the budget of {} is being topped up", .0.name())]
    NotYet(Unit),
}

/// A part of the budget set aside. Give it to [`Budget::settle`] or [`Budget::release`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a reservation that is neither settled nor released counts against the day"]
pub struct Reservation {
    unit: Unit,
    amount: u64,
    day: UtcDay,
}

impl Reservation {
    /// Of a budget that counts no days itself.
    pub(super) fn undated(unit: Unit, amount: u64) -> Self {
        Self { unit, amount, day: Timestamp::from_unix_ms(0).day() }
    }

    /// How much was set aside.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Of what.
    pub fn unit(&self) -> Unit {
        self.unit
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    settled: u64,
    reserved: u64,
}

/// Limits for a UTC day and what has been spent of them. A unit without a limit is counted and
/// never refused.
#[derive(Debug, Clone)]
pub struct Budget {
    limits: BTreeMap<Unit, Limit>,
    day: UtcDay,
    spent: BTreeMap<Unit, Spent>,
}

impl Budget {
    /// With these limits, from `now` on.
    pub fn new(limits: impl IntoIterator<Item = (Unit, Limit)>, now: Timestamp) -> Self {
        Self { limits: limits.into_iter().collect(), day: now.day(), spent: BTreeMap::new() }
    }

    /// Sets `amount` aside, or refuses when settled and reserved amounts together would pass the
    /// stop.
    pub fn reserve(
        &mut self,
        now: Timestamp,
        unit: Unit,
        amount: u64,
    ) -> Result<(Reservation, Level), Exhausted> {
        self.roll(now);
        let spent = self.spent.entry(unit).or_default();
        let total = spent.settled.saturating_add(spent.reserved).saturating_add(amount);
        let limit = self.limits.get(&unit);
        if limit.is_some_and(|limit| total > limit.stop) {
            return Err(Exhausted { unit, period: Period::Day, resets_at: self.day.next().start() });
        }
        spent.reserved = spent.reserved.saturating_add(amount);
        let level = if limit.is_some_and(|limit| total >= limit.warn) { Level::Warn } else { Level::Ok };
        Ok((Reservation { unit, amount, day: self.day }, level))
    }

    /// Books what the work really took, which may be more or less than was reserved, and frees the
    /// rest.
    pub fn settle(&mut self, now: Timestamp, reservation: Reservation, used: u64) {
        self.roll(now);
        let spent = self.spent.entry(reservation.unit).or_default();
        // A reservation of yesterday has left with yesterday's counters; what it used is booked
        // today, where it can still stop something.
        if reservation.day == self.day {
            spent.reserved = spent.reserved.saturating_sub(reservation.amount);
        }
        spent.settled = spent.settled.saturating_add(used);
    }

    /// Frees a reservation whose work was never begun.
    pub fn release(&mut self, now: Timestamp, reservation: Reservation) {
        self.settle(now, reservation, 0);
    }

    /// What was settled today.
    pub fn settled(&self, unit: Unit) -> u64 {
        self.spent.get(&unit).map_or(0, |spent| spent.settled)
    }

    /// What is set aside and not yet settled.
    pub fn reserved(&self, unit: Unit) -> u64 {
        self.spent.get(&unit).map_or(0, |spent| spent.reserved)
    }

    /// Begins a new day. A clock that was set back does not bring an old day, and its budget,
    /// again.
    fn roll(&mut self, now: Timestamp) {
        if now.day() > self.day {
            self.day = now.day();
            self.spent.clear();
        }
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_types)] // The property test runner uses them.
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOON: Timestamp = Timestamp::from_unix_ms(12 * 3_600_000);

    fn budget(stop: u64) -> Budget {
        Budget::new([(Unit::Characters, Limit::stop_at(stop))], NOON)
    }

    #[test]
    fn a_stop_is_enforced_before_the_money_is_spent() {
        let mut budget = budget(100);
        let (first, level) = budget.reserve(NOON, Unit::Characters, 60).unwrap();
        assert_eq!(level, Level::Ok);
        let (second, level) = budget.reserve(NOON, Unit::Characters, 40).unwrap();
        assert_eq!(level, Level::Warn);
        let refused = budget.reserve(NOON, Unit::Characters, 1).unwrap_err();
        assert_eq!(refused.resets_at, Timestamp::from_unix_ms(86_400_000));
        budget.settle(NOON, first, 50);
        budget.release(NOON, second);
        assert_eq!((budget.settled(Unit::Characters), budget.reserved(Unit::Characters)), (50, 0));
        assert!(budget.reserve(NOON, Unit::Characters, 50).is_ok());
    }

    #[test]
    fn midnight_utc_begins_a_new_day_and_a_clock_set_back_does_not() {
        let mut budget = budget(10);
        let (all, _) = budget.reserve(NOON, Unit::Characters, 10).unwrap();
        budget.settle(NOON, all, 10);
        assert!(budget.reserve(Timestamp::from_unix_ms(0), Unit::Characters, 1).is_err());
        let tomorrow = NOON.plus(Duration::from_secs(12 * 3600));
        let (kept, _) = budget.reserve(tomorrow, Unit::Characters, 1).unwrap();
        budget.settle(NOON, kept, 1);
        assert_eq!(budget.settled(Unit::Characters), 1);
    }

    #[test]
    fn a_unit_without_a_limit_is_counted_and_never_refused() {
        let mut budget = budget(1);
        let (tokens, _) = budget.reserve(NOON, Unit::Tokens, u64::MAX).unwrap();
        budget.settle(NOON, tokens, 5);
        assert_eq!(budget.settled(Unit::Tokens), 5);
    }

    proptest! {
        #[test]
        fn settled_and_reserved_never_pass_the_stop_while_work_takes_what_it_reserved(
            steps in prop::collection::vec((0u64..50, any::<bool>()), 0..100),
        ) {
            let mut budget = budget(500);
            let mut open: Vec<Reservation> = Vec::new();
            for (amount, settle) in steps {
                if settle && let Some(reservation) = open.pop() {
                    let used = reservation.amount();
                    budget.settle(NOON, reservation, used);
                } else if let Ok((reservation, _)) = budget.reserve(NOON, Unit::Characters, amount) {
                    open.push(reservation);
                }
                prop_assert!(budget.settled(Unit::Characters) + budget.reserved(Unit::Characters) <= 500);
            }
        }
    }
}
