//! The counters in the store: a hash for the day, one for the week with a place for each of its
//! days, and the slots of the window.
//!
//! A key names its time, so a clock that is stepped away and back comes back to the counters it
//! left: no step makes a day's budget new.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Amounts, DayUsage, Metric, Tally,
    limits::{Limits, Spent},
};
use crate::{
    budget::Period,
    store::{Family, InvalidKey, Key, Lifetime, Store, StoreError},
    time::{Timestamp, UtcDay},
    user::UserId,
};

const HOUR: u64 = 3600;

/// `{user}/{date}`: a counter for each metric. Two days: a finished day waits to be archived.
pub(crate) const DAY: Family = Family::new(
    "usage",
    "day",
    Lifetime::For(Duration::from_secs(48 * HOUR)),
    "what a user used on a UTC day: a counter for each metric",
);
/// `{user}/{date of Monday}`: a counter for each day and metric. Two weeks: days that were missed
/// by the archive are found here.
pub(crate) const WEEK: Family = Family::new(
    "usage",
    "week",
    Lifetime::For(Duration::from_secs(14 * 24 * HOUR)),
    "what a user used in a UTC week: a counter for each day and metric",
);
/// `{user}/{block}`: a counter for each slot and metric of five hours. They are needed for five
/// hours more; the rest is for a clock that is set back, whose next write would end them too early.
pub(crate) const WINDOW: Family = Family::new(
    "usage",
    "window",
    Lifetime::For(Duration::from_secs(12 * HOUR)),
    "what a user used in five hours: a counter for each ten minutes and metric",
);

/// The length of the rolling window.
pub const WINDOW_LENGTH: Duration = Duration::from_secs(5 * HOUR);
/// What is spent leaves the window in slots of this length, so the window reaches back for five
/// hours and at the most this much more.
pub const SLOT: Duration = Duration::from_secs(600);
const SLOTS: i64 = (WINDOW_LENGTH.as_secs() / SLOT.as_secs()) as i64;

/// What a counter's name ends in that counts how much of another is an estimate.
const ESTIMATED: &str = "_estimated";

/// The counters of all users.
#[derive(Clone)]
pub(super) struct Counters {
    pub(super) store: Arc<dyn Store>,
}

/// Added to one user's counters: of each metric so much, of which so much is an estimate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) metric: Metric,
    pub(super) counted: i64,
    pub(super) estimated: i64,
}

impl Change {
    /// Everything in `used`.
    pub(super) fn of(used: &Tally) -> Vec<Self> {
        let change = |metric| Self {
            metric,
            counted: signed(used.counted.get(metric)),
            estimated: signed(used.estimated.get(metric)),
        };
        Metric::ALL.into_iter().map(change).collect()
    }

    /// What makes `reported` of what was booked.
    pub(super) fn between(booked: &Tally, reported: &Amounts) -> Vec<Self> {
        let change = |metric| Self {
            metric,
            counted: signed(reported.get(metric)) - signed(booked.counted.get(metric)),
            estimated: -signed(booked.estimated.get(metric)),
        };
        Metric::ALL.into_iter().map(change).collect()
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

impl Counters {
    /// Adds to the day, the week and the window of `now`: each in one step, side by side.
    pub(super) async fn add(
        &self,
        now: Timestamp,
        user: &UserId,
        changes: &[Change],
    ) -> Result<(), StoreError> {
        if changes.iter().all(|change| change.counted == 0 && change.estimated == 0) {
            return Ok(());
        }
        let (day, slot) = (now.day(), slot(now));
        let keys = (day_key(user, day), week_key(user, day), window_key(user, block(slot)));
        let by_day = fields(changes, "", true);
        let by_week = fields(changes, &format!("{day}/"), true);
        let by_slot = fields(changes, &format!("{slot}/"), false);
        tokio::try_join!(
            self.store.add_all(now, &keys.0, &by_day),
            self.store.add_all(now, &keys.1, &by_week),
            self.store.add_all(now, &keys.2, &by_slot),
        )?;
        Ok(())
    }

    /// What was used on the day.
    pub(super) async fn day(&self, now: Timestamp, user: &UserId, day: UtcDay) -> Result<Tally, StoreError> {
        Ok(self.store.counters(now, &day_key(user, day)).await?.into_iter().collect())
    }

    /// What was used on each day of its week.
    pub(super) async fn week(
        &self,
        now: Timestamp,
        user: &UserId,
        day: UtcDay,
    ) -> Result<BTreeMap<UtcDay, Tally>, StoreError> {
        let mut days = BTreeMap::<UtcDay, Tally>::new();
        for (field, amount) in self.store.counters(now, &week_key(user, day)).await? {
            let Some((date, metric)) = field.split_once('/') else { continue };
            let Ok(day) = date.parse() else { continue };
            days.entry(day).or_default().count(metric, amount);
        }
        Ok(days)
    }

    /// What was used in the last five hours, and when the first of it leaves them. What lies up to
    /// five hours ahead counts as well: it was used before the clock was set back.
    pub(super) async fn window(
        &self,
        now: Timestamp,
        user: &UserId,
    ) -> Result<(Amounts, Timestamp), StoreError> {
        let first = slot(now) - SLOTS;
        let (mut total, mut oldest) = (Amounts::default(), slot(now));
        for block in block(first)..=block(first) + 2 {
            for (field, amount) in self.store.counters(now, &window_key(user, block)).await? {
                let Some((at, metric)) = field.split_once('/') else { continue };
                let (Ok(at), Some(metric)) = (at.parse::<i64>(), Metric::named(metric)) else { continue };
                if at >= first && at <= slot(now) + SLOTS && amount > 0 {
                    oldest = oldest.min(at);
                    let amount = Amounts::of(metric, amount.unsigned_abs());
                    total = total.plus(&amount);
                }
            }
        }
        Ok((total, slot_start(oldest + SLOTS + 1)))
    }

    /// What was spent over each period that has a limit.
    pub(super) async fn spent(
        &self,
        now: Timestamp,
        user: &UserId,
        limits: &Limits,
    ) -> Result<Spent, StoreError> {
        let mut spent = Spent { counted: [Amounts::default(); 3], resets_at: resets_at(now) };
        if limits.has(Period::Day) {
            spent.counted[Period::Day as usize] = self.day(now, user, now.day()).await?.counted;
        }
        if limits.has(Period::Week) {
            let days = self.week(now, user, now.day()).await?;
            spent.counted[Period::Week as usize] = sum(days.values()).counted;
        }
        if limits.has(Period::Window) {
            let (counted, leaves) = self.window(now, user).await?;
            spent.counted[Period::Window as usize] = counted;
            spent.resets_at[Period::Window as usize] = leaves;
        }
        Ok(spent)
    }

    /// The finished days that the store still holds after the key `after`, from one page of its
    /// keys; and the key to go on from.
    pub(super) async fn finished(
        &self,
        now: Timestamp,
        family: &Family,
        after: Option<&str>,
        page: usize,
    ) -> Result<(Vec<DayUsage>, Option<String>), StoreError> {
        let prefix = family.prefix();
        let found = self.store.scan(now, &prefix, after, page).await?;
        let mut days = Vec::new();
        for key in &found {
            let id = key.key.strip_prefix(&prefix).and_then(|id| id.split_once('/'));
            let Some((Ok(user), Ok(day))) = id.map(|(user, date)| (UserId::try_from(user), date.parse()))
            else {
                tracing::warn!(key = key.key, "a key of usage that nobody wrote");
                continue;
            };
            let tallies = match family == &DAY {
                true => BTreeMap::from([(day, self.day(now, &user, day).await?)]),
                false => self.week(now, &user, day).await?,
            };
            let finished = tallies.into_iter().filter(|(day, _)| *day < now.day());
            days.extend(finished.map(|(day, tally)| DayUsage { user: user.clone(), day, tally }));
        }
        let is_last = found.len() < page;
        Ok((days, found.into_iter().next_back().map(|last| last.key).filter(|_| !is_last)))
    }
}

/// When each period of `now` resets. The window does not reset: for an empty one this is its own
/// length from now.
pub(super) fn resets_at(now: Timestamp) -> [Timestamp; 3] {
    let day = now.day();
    [day.next().start(), day.monday().plus_days(7).start(), slot_start(slot(now) + SLOTS + 1)]
}

pub(super) fn sum<'a>(tallies: impl Iterator<Item = &'a Tally>) -> Tally {
    tallies.fold(Tally::default(), |sum, tally| sum.plus(tally))
}

impl Tally {
    fn count(&mut self, name: &str, amount: i64) {
        // Corrections may arrive in pieces; less than nothing is nothing.
        let amount = u64::try_from(amount).unwrap_or(0);
        match name.strip_suffix(ESTIMATED) {
            Some(name) => add(&mut self.estimated, name, amount),
            None => add(&mut self.counted, name, amount),
        }
    }

    /// The counters as names and numbers.
    #[cfg(feature = "postgres")]
    pub(super) fn named(&self) -> Vec<(String, i64)> {
        let counted = self.counted.iter().map(|(metric, n)| (metric.name().to_owned(), signed(n)));
        let estimated =
            self.estimated.iter().map(|(metric, n)| (format!("{}{ESTIMATED}", metric.name()), signed(n)));
        counted.chain(estimated).collect()
    }
}

impl FromIterator<(String, i64)> for Tally {
    fn from_iter<I: IntoIterator<Item = (String, i64)>>(counters: I) -> Self {
        counters.into_iter().fold(Self::default(), |mut tally, (name, amount)| {
            tally.count(&name, amount);
            tally
        })
    }
}

fn add(amounts: &mut Amounts, name: &str, amount: u64) {
    if let Some(metric) = Metric::named(name) {
        *amounts = amounts.plus(&Amounts::of(metric, amount));
    }
}

fn fields(changes: &[Change], prefix: &str, with_estimates: bool) -> Vec<(String, i64)> {
    let mut fields = Vec::with_capacity(changes.len() * 2);
    for Change { metric, counted, estimated } in changes {
        if *counted != 0 {
            fields.push((format!("{prefix}{}", metric.name()), *counted));
        }
        if with_estimates && *estimated != 0 {
            fields.push((format!("{prefix}{}{ESTIMATED}", metric.name()), *estimated));
        }
    }
    fields
}

/// Slots of ten minutes since 1970.
fn slot(now: Timestamp) -> i64 {
    now.unix_ms().div_euclid(SLOT.as_millis() as i64)
}

fn slot_start(slot: i64) -> Timestamp {
    Timestamp::from_unix_ms(slot.saturating_mul(SLOT.as_millis() as i64))
}

/// The slots of one key.
fn block(slot: i64) -> i64 {
    slot.div_euclid(SLOTS)
}

fn day_key(user: &UserId, day: UtcDay) -> Key {
    key(DAY.key(&format!("{user}/{day}")))
}

fn week_key(user: &UserId, day: UtcDay) -> Key {
    key(WEEK.key(&format!("{user}/{}", day.monday())))
}

fn window_key(user: &UserId, block: i64) -> Key {
    key(WINDOW.key(&format!("{user}/{block}")))
}

/// A user's id and a time are always an id.
pub(super) fn key(key: Result<Key, InvalidKey>) -> Key {
    key.unwrap_or_else(|_| unreachable!("a user id and a time are printable and short"))
}
