//! A portion of a budget that somebody else keeps: what may be spent without asking again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::{Exhausted, Level, NotAdmitted, Reservation, Unit};

/// What is at hand of each unit. A unit that was never granted is not kept here: it is admitted and
/// not counted.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    shares: BTreeMap<Unit, Share>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    funds: Funds,
    /// Reserved, and not settled yet.
    reserved: u64,
    /// Settled, and not told to the keeper yet.
    used: u64,
    /// Asked for in vain since the keeper last looked.
    missed: u64,
}

/// What may still be reserved.
#[derive(Debug, Clone, Copy)]
enum Funds {
    /// Nothing limits the unit: everything is admitted, and counted.
    Unlimited,
    /// So much, until the keeper brings more.
    Drawn { free: u64, near_limit: bool },
    /// So much, and the ledger refused to give more.
    Last { free: u64, refusal: Exhausted },
}

impl Default for Funds {
    fn default() -> Self {
        Self::Drawn { free: 0, near_limit: false }
    }
}

impl Funds {
    fn free(&self) -> u64 {
        match *self {
            Self::Unlimited => u64::MAX,
            Self::Drawn { free, .. } | Self::Last { free, .. } => free,
        }
    }

    fn change(&mut self, change: impl FnOnce(u64) -> u64) {
        if let Self::Drawn { free, .. } | Self::Last { free, .. } = self {
            *free = change(*free);
        }
    }
}

/// What a keeper sees of one unit when it looks into the purse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Glance {
    /// Settled since the last look.
    pub(crate) used: u64,
    /// Reserved, or asked for in vain since the last look.
    pub(crate) needed: u64,
}

impl Purse {
    /// Admits everything of a unit, and counts it.
    pub(crate) fn lift_limit(&mut self, unit: Unit) {
        self.shares.entry(unit).or_default().funds = Funds::Unlimited;
    }

    /// Adds `amount` to what may be spent. `near_limit` says that it was less than the keeper asked
    /// for.
    pub(crate) fn grant(&mut self, unit: Unit, amount: u64, near_limit: bool) {
        let share = self.shares.entry(unit).or_default();
        if !matches!(share.funds, Funds::Unlimited) {
            share.funds = Funds::Drawn { free: share.funds.free().saturating_add(amount), near_limit };
        }
    }

    /// The ledger gives nothing more. What is at hand may still be spent.
    pub(crate) fn refuse(&mut self, unit: Unit, refusal: Exhausted) {
        let share = self.shares.entry(unit).or_default();
        if !matches!(share.funds, Funds::Unlimited) {
            share.funds = Funds::Last { free: share.funds.free(), refusal };
        }
    }

    /// Sets `amount` aside, or says why not: not yet, or not any more.
    pub(crate) fn reserve(&mut self, unit: Unit, amount: u64) -> Result<(Reservation, Level), NotAdmitted> {
        let Some(share) = self.shares.get_mut(&unit) else {
            return Ok((Reservation::undated(unit, amount), Level::Ok));
        };
        let level = match share.funds {
            Funds::Drawn { free, .. } if amount > free => {
                share.missed = share.missed.saturating_add(amount);
                return Err(NotAdmitted::NotYet(unit));
            }
            Funds::Last { free, refusal } if amount > free => return Err(refusal.into()),
            Funds::Unlimited | Funds::Drawn { near_limit: false, .. } => Level::Ok,
            Funds::Drawn { near_limit: true, .. } | Funds::Last { .. } => Level::Warn,
        };
        share.funds.change(|free| free - amount);
        share.reserved = share.reserved.saturating_add(amount);
        Ok((Reservation::undated(unit, amount), level))
    }

    /// Books what the work really took, and frees the rest.
    pub(crate) fn settle(&mut self, unit: Unit, reserved: u64, used: u64) {
        let Some(share) = self.shares.get_mut(&unit) else { return };
        share.reserved = share.reserved.saturating_sub(reserved);
        share.funds.change(|free| free.saturating_add(reserved).saturating_sub(used));
        share.used = share.used.saturating_add(used);
    }

    /// Looks at a unit, and begins to count again what is used and missed.
    pub(crate) fn look(&mut self, unit: Unit) -> Glance {
        let share = self.shares.entry(unit).or_default();
        let (used, missed) = (std::mem::take(&mut share.used), std::mem::take(&mut share.missed));
        Glance { used, needed: share.reserved.saturating_add(missed) }
    }

    /// Gives up what is free beyond `most` at hand, and answers what is at hand: free or reserved.
    pub(crate) fn keep_at_most(&mut self, unit: Unit, most: u64) -> u64 {
        let share = self.shares.entry(unit).or_default();
        let reserved = share.reserved;
        share.funds.change(|free| free.min(most.saturating_sub(reserved)));
        share.funds.free().saturating_add(reserved)
    }

    /// Takes back a report of what was settled: it will be reported again.
    pub(crate) fn put_back(&mut self, unit: Unit, used: u64) {
        let share = self.shares.entry(unit).or_default();
        share.used = share.used.saturating_add(used);
    }

    /// Gives up what is not reserved.
    pub(crate) fn forfeit(&mut self, unit: Unit) {
        self.shares.entry(unit).or_default().funds.change(|_| 0);
    }

    /// Whether less than `amount` may still be reserved.
    pub(crate) fn is_below(&self, unit: Unit, amount: u64) -> bool {
        self.shares.get(&unit).is_some_and(|share| share.funds.free() < amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{budget::Period, time::Timestamp};

    fn with_characters(amount: u64) -> Purse {
        let mut purse = Purse::default();
        purse.grant(Unit::Characters, amount, false);
        purse
    }

    #[test]
    fn what_is_at_hand_is_spent_and_no_more() {
        let mut purse = with_characters(10);
        let (first, _) = purse.reserve(Unit::Characters, 8).unwrap();
        assert_eq!(purse.reserve(Unit::Characters, 3), Err(NotAdmitted::NotYet(Unit::Characters)));
        purse.settle(Unit::Characters, first.amount(), 5);
        assert_eq!(purse.look(Unit::Characters), Glance { used: 5, needed: 3 });
        assert_eq!(purse.look(Unit::Characters), Glance { used: 0, needed: 0 });
        assert_eq!(purse.keep_at_most(Unit::Characters, 10), 5);
        assert_eq!(purse.keep_at_most(Unit::Characters, 4), 4);
        assert!(purse.reserve(Unit::Tokens, u64::MAX).is_ok(), "what is not kept here is not refused here");
    }

    #[test]
    fn work_that_took_more_than_it_reserved_takes_it_from_the_rest() {
        let mut purse = with_characters(10);
        let (first, _) = purse.reserve(Unit::Characters, 2).unwrap();
        purse.settle(Unit::Characters, first.amount(), 5);
        assert!(!purse.is_below(Unit::Characters, 5) && purse.is_below(Unit::Characters, 6));
        let (second, _) = purse.reserve(Unit::Characters, 5).unwrap();
        purse.settle(Unit::Characters, second.amount(), 9);
        assert_eq!(purse.look(Unit::Characters), Glance { used: 14, needed: 0 });
    }

    #[test]
    fn an_empty_purse_says_not_yet_until_the_ledger_has_refused() {
        let mut purse = with_characters(1);
        let refusal =
            Exhausted { unit: Unit::Characters, period: Period::Week, resets_at: Timestamp::from_unix_ms(7) };
        assert_eq!(purse.reserve(Unit::Characters, 2), Err(NotAdmitted::NotYet(Unit::Characters)));
        purse.refuse(Unit::Characters, refusal);
        assert_eq!(purse.reserve(Unit::Characters, 2), Err(NotAdmitted::Exhausted(refusal)));
        assert!(matches!(purse.reserve(Unit::Characters, 1), Ok((_, Level::Warn))), "the rest may be spent");
        purse.grant(Unit::Characters, 1, true);
        assert!(matches!(purse.reserve(Unit::Characters, 1), Ok((_, Level::Warn))));
        assert_eq!(purse.reserve(Unit::Characters, 1), Err(NotAdmitted::NotYet(Unit::Characters)));
    }

    #[test]
    fn a_unit_without_a_limit_is_counted_and_never_refused() {
        let mut purse = Purse::default();
        purse.lift_limit(Unit::AudioMs);
        purse.forfeit(Unit::AudioMs);
        let (hold, level) = purse.reserve(Unit::AudioMs, u64::MAX / 2).unwrap();
        assert_eq!(level, Level::Ok);
        purse.settle(Unit::AudioMs, hold.amount(), 3);
        assert_eq!(purse.look(Unit::AudioMs), Glance { used: 3, needed: 0 });
    }
}
