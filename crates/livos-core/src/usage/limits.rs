//! Whether so much may be spent: limits against what was spent and what is set aside.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;

use super::{Amounts, Metric};
use crate::{
    budget::{Exhausted, Limit, Period, Unit},
    time::Timestamp,
};

/// Limits by period and unit. What has none is counted and never refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits(BTreeMap<(Period, Unit), Limit>);

impl Limits {
    /// The same with a limit.
    #[must_use]
    pub fn with(mut self, period: Period, unit: Unit, limit: Limit) -> Self {
        self.0.insert((period, unit), limit);
        self
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Period, Unit, Limit)> {
        self.0.iter().map(|((period, unit), limit)| (*period, *unit, *limit))
    }

    /// Whether this unit is limited over any time.
    pub fn bounds(&self, unit: Unit) -> bool {
        self.0.keys().any(|(_, limited)| *limited == unit)
    }

    /// Whether anything is limited over this time.
    pub fn has(&self, period: Period) -> bool {
        self.0.keys().any(|(limited, _)| *limited == period)
    }
}

/// What was spent over each period, and when the period resets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) counted: [Amounts; Period::ALL.len()],
    pub(super) resets_at: [Timestamp; Period::ALL.len()],
}

impl Spent {
    fn over(&self, period: Period) -> (&Amounts, Timestamp) {
        (&self.counted[period as usize], self.resets_at[period as usize])
    }
}

/// Whether `want` may be set aside in addition to what is `held`, and which limits that comes near
/// to. Only what is wanted is looked at: a limit of another unit that is passed stops nobody.
pub(super) fn decide(
    limits: &Limits,
    spent: &Spent,
    held: &Amounts,
    want: &Amounts,
) -> Result<Vec<(Period, Unit)>, Exhausted> {
    let mut near = Vec::new();
    for (period, unit, limit) in limits.iter() {
        let (counted, resets_at) = spent.over(period);
        let wanted = want.unit(unit);
        if wanted == 0 {
            continue;
        }
        let total = counted.unit(unit).saturating_add(held.unit(unit)).saturating_add(wanted);
        if total > limit.stop {
            return Err(Exhausted { unit, period, resets_at });
        }
        if total >= limit.warn {
            near.push((period, unit));
        }
    }
    Ok(near)
}

/// What is set aside ahead of any work is one part of so many of what is left.
pub(super) const SHARE: u64 = 4;
/// Below this part of a portion nothing is left to others: what is left is too little to be
/// divided.
const LAST: u64 = 64;

/// What a keeper asks for, without its price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Draw {
    /// Set aside before, and not spent yet.
    pub(super) keep: Amounts,
    /// What work that has begun or waits takes, of both together.
    pub(super) needed: Amounts,
    /// To be set aside besides `keep`.
    pub(super) more: Amounts,
}

/// What came of a [`Draw`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Granted {
    /// How much of `more`.
    pub(super) amounts: Amounts,
    /// Metrics of which there is nothing more even for work that waits, with the limit in the way.
    pub(super) refusals: Vec<(Metric, Exhausted)>,
}

/// As much of `more` as may be set aside, of each metric by itself, with its price.
///
/// What is drawn ahead must not starve other work: with what is kept it is a quarter of what is
/// left at the most, until hardly anything is. What is `needed` is not ahead: of that as much as is
/// left.
pub(super) fn fit(
    limits: &Limits,
    spent: &Spent,
    others: &Amounts,
    draw: &Draw,
    cost: impl Fn(&Amounts) -> u64,
) -> Granted {
    let mut granted = Granted::default();
    for (metric, more) in draw.more.iter() {
        let kept = draw.keep.get(metric);
        let last = (kept.saturating_add(more) / LAST).max(1).max(draw.needed.get(metric));
        let (mut wanted, mut refusal) = (more, None);
        while wanted > 0 {
            let all = kept.saturating_add(wanted);
            let is_ahead = all > last;
            let asked = if is_ahead { all.saturating_mul(SHARE) } else { all };
            let asked = draw.keep.plus(&granted.amounts).with(metric, asked);
            match decide(limits, spent, others, &asked.with(Metric::MicroDollars, cost(&asked))) {
                Ok(_) => break,
                Err(_) if is_ahead => wanted = (wanted / 2).max(last.saturating_sub(kept)),
                Err(exhausted) => {
                    refusal = Some(exhausted);
                    wanted /= 2;
                }
            }
        }
        granted.amounts = granted.amounts.with(metric, wanted);
        granted.refusals.extend(refusal.filter(|_| wanted == 0).map(|exhausted| (metric, exhausted)));
    }
    granted
}

#[cfg(test)]
#[allow(clippy::disallowed_types)] // The property test runner uses them.
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RESETS: [Timestamp; 3] =
        [Timestamp::from_unix_ms(1), Timestamp::from_unix_ms(2), Timestamp::from_unix_ms(3)];

    fn spent(day: u64, week: u64, window: u64) -> Spent {
        Spent {
            counted: [day, week, window].map(|tokens| Amounts::of(Metric::OutputTokens, tokens)),
            resets_at: RESETS,
        }
    }

    fn tokens(amount: u64) -> Amounts {
        Amounts::of(Metric::InputTokens, amount)
    }

    #[test]
    fn the_first_limit_that_would_be_passed_refuses_and_names_itself() {
        let limits = Limits::default()
            .with(Period::Day, Unit::Tokens, Limit::stop_at(100))
            .with(Period::Week, Unit::Tokens, Limit::stop_at(300))
            .with(Period::Window, Unit::Tokens, Limit { warn: 10, stop: 50 });
        let check = |spent: Spent, held: u64, want: u64| {
            decide(&limits, &spent, &tokens(held), &tokens(want))
                .map_err(|refused| (refused.period, refused.resets_at))
        };
        assert_eq!(check(spent(0, 0, 0), 0, 9), Ok(vec![]));
        let window = (Period::Window, Unit::Tokens);
        assert_eq!(check(spent(0, 0, 0), 5, 5), Ok(vec![window]), "what is held counts");
        let day = (Period::Day, Unit::Tokens);
        assert_eq!(check(spent(70, 70, 40), 0, 10), Ok(vec![day, window]), "up to the limit itself");
        assert_eq!(check(spent(70, 70, 40), 0, 11), Err((Period::Window, RESETS[2])));
        assert_eq!(check(spent(95, 95, 0), 5, 1), Err((Period::Day, RESETS[0])));
        assert_eq!(check(spent(0, 299, 0), 0, 2), Err((Period::Week, RESETS[1])));
        assert_eq!(check(spent(200, 400, 90), 0, 0), Ok(vec![]), "who wants nothing is not refused");
        let money = Amounts::of(Metric::MicroDollars, u64::MAX);
        assert_eq!(
            decide(&limits, &spent(200, 400, 90), &tokens(0), &money),
            Ok(vec![]),
            "no limit on money"
        );
    }

    proptest! {
        #[test]
        fn what_fits_is_never_refused_and_something_fits_while_anything_is_left(
            (stop, others, kept, more, price) in (0u64..2_000, 0u64..2_000, 0u64..500, 1u64..2_000, 0u64..4),
            (money, needed) in (0u64..4_000, 0u64..1_000),
        ) {
            let limits = Limits::default()
                .with(Period::Day, Unit::Tokens, Limit::stop_at(stop))
                .with(Period::Day, Unit::MicroDollars, Limit::stop_at(money));
            let cost = |amounts: &Amounts| amounts.unit(Unit::Tokens) * price;
            let draw = Draw { keep: tokens(kept), needed: tokens(needed), more: tokens(more) };
            let granted = fit(&limits, &spent(0, 0, 0), &tokens(others), &draw, cost);
            let given = granted.amounts.unit(Unit::Tokens);
            // Others hold tokens, and no money.
            let room = stop.saturating_sub(others).min(money.checked_div(price).unwrap_or(u64::MAX));
            let all = kept + given;
            let last = ((kept + more) / LAST).max(1).max(needed);
            prop_assert!(given == 0 || all <= room / SHARE || all <= room.min(last), "{given}");
            if kept == 0 {
                prop_assert_eq!(given > 0, room > 0);
            }
            if room >= needed && kept + more >= needed {
                prop_assert!(all >= needed, "what is needed and left is given: {given}");
            }
            prop_assert_eq!(granted.refusals.is_empty(), given > 0 || kept >= last);
        }
    }
}
