//! A portion of a budget that somebody else keeps: what may be spent without asking again.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::{Exhausted, Level, Period, Reservation, Unit};
use crate::time::Timestamp;

/// What is at hand of each unit. A unit that was never granted is not kept here: it is admitted and
/// not counted.
#[derive(Debug, Default)]
pub(crate) struct Purse {
    shares: BTreeMap<Unit, Share>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Share {
    /// May be reserved.
    free: u64,
    /// Reserved, and not settled yet.
    reserved: u64,
    /// Settled, and not told to the keeper yet.
    used: u64,
    /// Why there is no more of it.
    refusal: Option<Exhausted>,
}

impl Purse {
    /// Adds to what may be spent; `refusal` says why it was not more.
    pub(crate) fn grant(&mut self, unit: Unit, amount: u64, refusal: Option<Exhausted>) {
        let share = self.shares.entry(unit).or_default();
        share.free = share.free.saturating_add(amount);
        share.refusal = refusal;
    }

    /// Sets `amount` aside, or says what there is not enough of.
    pub(crate) fn reserve(&mut self, unit: Unit, amount: u64) -> Result<(Reservation, Level), Exhausted> {
        let Some(share) = self.shares.get_mut(&unit) else {
            return Ok((Reservation::undated(unit, amount), Level::Ok));
        };
        if amount > share.free {
            // Without a reason from the keeper it is not a limit but a keeper that is late or can't
            // reach the store.
            let late = Exhausted { unit, period: Period::Day, resets_at: Timestamp::from_unix_ms(0) };
            return Err(share.refusal.unwrap_or(late));
        }
        share.free -= amount;
        share.reserved += amount;
        let level = if share.refusal.is_some() { Level::Warn } else { Level::Ok };
        Ok((Reservation::undated(unit, amount), level))
    }

    /// Books what the work really took, and frees the rest.
    pub(crate) fn settle(&mut self, unit: Unit, reserved: u64, used: u64) {
        let Some(share) = self.shares.get_mut(&unit) else { return };
        share.reserved = share.reserved.saturating_sub(reserved);
        share.free = share.free.saturating_add(reserved).saturating_sub(used);
        share.used = share.used.saturating_add(used);
    }

    /// What was settled since this was last asked, and what is still at hand, reserved or not.
    pub(crate) fn take_used(&mut self, unit: Unit) -> (u64, u64) {
        let share = self.shares.entry(unit).or_default();
        (std::mem::take(&mut share.used), share.free.saturating_add(share.reserved))
    }

    /// Takes back a report of what was settled: it will be reported again.
    pub(crate) fn put_back(&mut self, unit: Unit, used: u64) {
        let share = self.shares.entry(unit).or_default();
        share.used = share.used.saturating_add(used);
    }

    /// Gives up what is not reserved.
    pub(crate) fn forfeit(&mut self, unit: Unit) {
        self.shares.entry(unit).or_default().free = 0;
    }

    /// What may still be reserved.
    pub(crate) fn free(&self, unit: Unit) -> u64 {
        self.shares.get(&unit).map_or(u64::MAX, |share| share.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_hand_is_spent_and_no_more() {
        let mut purse = Purse::default();
        purse.grant(Unit::Characters, 10, None);
        let (first, _) = purse.reserve(Unit::Characters, 8).unwrap();
        assert!(purse.reserve(Unit::Characters, 3).is_err());
        purse.settle(Unit::Characters, first.amount(), 5);
        assert_eq!(purse.take_used(Unit::Characters), (5, 5));
        assert_eq!(purse.take_used(Unit::Characters), (0, 5));
        assert!(purse.reserve(Unit::Tokens, u64::MAX).is_ok(), "what is not kept here is not refused here");
    }

    #[test]
    fn work_that_took_more_than_it_reserved_takes_it_from_the_rest() {
        let mut purse = Purse::default();
        purse.grant(Unit::AudioMs, 10, None);
        let (first, _) = purse.reserve(Unit::AudioMs, 2).unwrap();
        purse.settle(Unit::AudioMs, first.amount(), 5);
        assert_eq!(purse.free(Unit::AudioMs), 5);
        let (second, _) = purse.reserve(Unit::AudioMs, 5).unwrap();
        purse.settle(Unit::AudioMs, second.amount(), 9);
        assert_eq!((purse.free(Unit::AudioMs), purse.take_used(Unit::AudioMs)), (0, (14, 0)));
    }
}
