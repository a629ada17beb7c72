//! What is reserved, settled, recorded and reported, in a store that other processes share.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Amounts, Metric, Tally, UsageError,
    counters::{self, Change, Counters},
    holds::Holds,
    limits::{self, Draw, Granted, Limits, Spent},
};
use crate::{
    budget::{Exhausted, Level, Limit, Period, Unit},
    store::{Family, Key, Lifetime, Put, Store},
    time::{Clock, Timestamp, UtcDay},
    user::UserId,
};

/// `{user}`: what the user's processes have set aside. Longer than any hold lasts.
pub(crate) const HOLDS: Family = Family::new(
    "usage",
    "holds",
    Lifetime::For(Duration::from_secs(2 * 3600)),
    "what a user's work under way has set aside",
);

/// How usage is limited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UsageConfig {
    /// What may be spent. None by default: an operator knows what a user may cost, a library does
    /// not.
    pub limits: Limits,
    /// How long a reservation lasts that is neither settled nor renewed, an hour at the most. 10
    /// minutes: longer than any answer takes, and how long a crashed process blocks what it had set
    /// aside.
    pub hold_lifetime: Duration,
    /// Reservations of one user at one time. 256: more than one person's work, and some tens of
    /// kilobytes in the store.
    pub most_holds: usize,
}

crate::with_fields!(UsageConfig {
    with_limits => limits: Limits,
    with_hold_lifetime => hold_lifetime: Duration,
    with_most_holds => most_holds: usize,
});

impl Default for UsageConfig {
    fn default() -> Self {
        Self { limits: Limits::default(), hold_lifetime: Duration::from_secs(600), most_holds: 256 }
    }
}

/// What was booked, to be corrected when the provider's own figures come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booking {
    user: UserId,
    day: UtcDay,
    tally: Tally,
}

/// What one user used over one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeriodUsage {
    /// Which.
    pub period: Period,
    /// When it began.
    pub since: Timestamp,
    /// When it resets; of the window, when the first of what was used leaves it.
    pub resets_at: Timestamp,
    /// What was used. Estimates of the window are not told apart.
    pub tally: Tally,
}

/// How far a limit is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitState {
    /// Over which time.
    pub period: Period,
    /// What is limited.
    pub unit: Unit,
    /// The limit.
    pub limit: Limit,
    /// What was spent.
    pub spent: u64,
    /// What is set aside by work under way, and by work that is expected: estimates, until it is
    /// settled.
    pub held: u64,
    /// When it resets.
    pub resets_at: Timestamp,
}

impl LimitState {
    /// What may still be reserved.
    pub fn left(&self) -> u64 {
        self.limit.stop.saturating_sub(self.spent).saturating_sub(self.held)
    }

    /// `ok`, `warn` or `stop`.
    pub fn standing(&self) -> &'static str {
        match self.spent.saturating_add(self.held) {
            total if total >= self.limit.stop => "stop",
            total if total >= self.limit.warn => "warn",
            _ => "ok",
        }
    }
}

/// What one user used and may still use.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// As of when.
    pub now: Timestamp,
    /// The UTC day, the UTC week, and the five-hour window.
    pub periods: [PeriodUsage; 3],
    /// What is set aside by work under way.
    pub held: Amounts,
    /// Each limit.
    pub limits: Vec<LimitState>,
}

/// What the handles of a process share.
pub(super) struct Shared {
    pub(super) counters: Counters,
    config: UsageConfig,
    pub(super) clock: Arc<dyn Clock>,
    /// One reservation of this process at a time, so that only other processes are rivals.
    turn: tokio::sync::Mutex<()>,
    /// Until when a warning was given.
    warned: Mutex<HashMap<(UserId, Period, Unit), Timestamp>>,
}

/// How often a reservation is tried again when another process was faster.
const ATTEMPTS: usize = 64;
/// Warnings that are remembered, so that each is given once.
const MOST_WARNED: usize = 1000;
/// The longest lifetime of a hold, below that of its key.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

impl Shared {
    pub(super) fn new(store: Arc<dyn Store>, mut config: UsageConfig, clock: Arc<dyn Clock>) -> Self {
        config.hold_lifetime = config.hold_lifetime.clamp(Duration::from_secs(1), LONGEST_HOLD);
        Self {
            counters: Counters { store },
            config,
            clock,
            turn: tokio::sync::Mutex::default(),
            warned: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &UsageConfig {
        &self.config
    }

    pub(super) fn hold_lifetime(&self) -> Duration {
        self.config.hold_lifetime
    }

    pub(super) async fn set_aside(
        &self,
        user: &UserId,
        id: &str,
        amounts: Amounts,
        room: u64,
    ) -> Result<Level, UsageError> {
        let config = &self.config;
        let decided = self.change_holds(user, |now, holds, spent| {
            // It is there already where an answer of the store was lost.
            holds.remove(id);
            if holds.len() >= config.most_holds {
                return Err(UsageError::TooMany(holds.len()));
            }
            let near = limits::decide(&config.limits, spent, &holds.total(), &amounts.times(room))?;
            holds.set(id, now.plus(config.hold_lifetime), amounts);
            Ok((near, spent.resets_at))
        });
        match decided.await {
            Ok((near, resets_at)) => {
                // What is reserved ahead comes near to nothing by itself.
                if room == 1 {
                    self.warn(user, &near, resets_at);
                }
                Ok(if near.is_empty() { Level::Ok } else { Level::Warn })
            }
            Err(error) => {
                // Work that nobody asked for is refused without anybody being the poorer.
                if let (UsageError::Exhausted(exhausted), 1) = (&error, room) {
                    refused(exhausted);
                }
                Err(error)
            }
        }
    }

    /// Puts what is kept, and as much more as fits, in place of a hold. `cost` is the price of
    /// both, which is set aside with them.
    pub(super) async fn renew(
        &self,
        user: &UserId,
        id: &str,
        draw: Draw,
        cost: impl Fn(&Amounts) -> u64,
    ) -> Result<Granted, UsageError> {
        let config = &self.config;
        let priced = |amounts: Amounts| amounts.with(Metric::MicroDollars, cost(&amounts));
        let renewed = self.change_holds(user, |now, holds, spent| {
            holds.remove(id);
            let granted = limits::fit(&config.limits, spent, &holds.total(), &draw, &cost);
            let all = priced(draw.keep.plus(&granted.amounts));
            if !all.is_zero() {
                holds.set(id, now.plus(config.hold_lifetime), all);
            }
            Ok(granted)
        });
        let granted = renewed.await?;
        granted.refusals.iter().for_each(|(_, exhausted)| refused(exhausted));
        Ok(granted)
    }

    /// Whether a limit counts what is used of this unit, or the money that it costs.
    pub(super) fn bounds(&self, unit: Unit, costs_money: bool) -> bool {
        let limits = &self.config.limits;
        limits.bounds(unit) || (costs_money && limits.bounds(Unit::MicroDollars))
    }

    /// Counts what a hold's work used, and ends the hold.
    pub(super) async fn settle(&self, user: &UserId, id: &str, used: Tally) -> Result<Booking, UsageError> {
        let booking = self.book(user, used).await?;
        self.end(user, id).await?;
        Ok(booking)
    }

    pub(super) async fn book(&self, user: &UserId, used: Tally) -> Result<Booking, UsageError> {
        let now = self.clock.now();
        self.counters.add(now, user, &Change::of(&used)).await?;
        Ok(Booking { user: user.clone(), day: now.day(), tally: used })
    }

    pub(super) async fn end(&self, user: &UserId, id: &str) -> Result<(), UsageError> {
        self.change_holds(user, |_, holds, _| {
            holds.remove(id);
            Ok(())
        })
        .await
    }

    pub(super) async fn correct(&self, booking: Booking, reported: Amounts) -> Result<bool, UsageError> {
        let now = self.clock.now();
        if booking.day != now.day() {
            return Ok(false);
        }
        self.counters.add(now, &booking.user, &Change::between(&booking.tally, &reported)).await?;
        Ok(true)
    }

    /// Reads the holds, after them the counters, lets `change` decide, and writes the holds if
    /// nobody else did meanwhile; again from the beginning if somebody did.
    async fn change_holds<T>(
        &self,
        user: &UserId,
        change: impl Fn(Timestamp, &mut Holds, &Spent) -> Result<T, UsageError>,
    ) -> Result<T, UsageError> {
        let key = holds_key(user);
        let _turn = self.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let now = self.clock.now();
            let (before, version) = self.holds(now, &key).await?;
            let spent = self.counters.spent(now, user, &self.config.limits).await?;
            let mut after = before.clone();
            let value = match change(now, &mut after, &spent) {
                // What was settled in between was seen twice: look again before anybody is refused
                // for it.
                Err(UsageError::Exhausted(_)) if self.holds(now, &key).await?.1 != version => continue,
                changed => changed?,
            };
            if after == before {
                return Ok(value);
            }
            let text =
                serde_json::to_vec(&after).map_err(|_| UsageError::Unreadable { key: key.to_string() })?;
            match self.counters.store.put_if(now, &key, Bytes::from(text), version).await? {
                Put::Written(_) => return Ok(value),
                Put::Conflict(_) => metrics::counter!("livos_usage_conflicts_total").increment(1),
            }
        }
        Err(UsageError::Contended)
    }

    async fn holds(&self, now: Timestamp, key: &Key) -> Result<(Holds, Option<u64>), UsageError> {
        let Some(entry) = self.counters.store.get(now, key).await? else {
            return Ok((Holds::default(), None));
        };
        let holds: Holds = serde_json::from_slice(&entry.value)
            .map_err(|_| UsageError::Unreadable { key: key.to_string() })?;
        Ok((holds.living(now, self.config.hold_lifetime), Some(entry.version)))
    }

    pub(super) async fn report(&self, user: &UserId) -> Result<Report, UsageError> {
        let now = self.clock.now();
        let held = self.holds(now, &holds_key(user)).await?.0.total();
        let today = now.day();
        let day = self.counters.day(now, user, today).await?;
        let week = counters::sum(self.counters.week(now, user, today).await?.values());
        let (counted, leaves) = self.counters.window(now, user).await?;
        let window = Tally { counted, estimated: Amounts::default() };
        let resets_at = counters::resets_at(now);
        let period = |period, since, resets_at, tally| PeriodUsage { period, since, resets_at, tally };
        let window_start = Timestamp::from_unix_ms(
            now.unix_ms()
                .saturating_sub(i64::try_from(counters::WINDOW_LENGTH.as_millis()).unwrap_or(i64::MAX)),
        );
        let periods = [
            period(Period::Day, today.start(), resets_at[0], day),
            period(Period::Week, today.monday().start(), resets_at[1], week),
            period(Period::Window, window_start, leaves, window),
        ];
        let state = |(period, unit, limit): (Period, Unit, Limit)| {
            let of = &periods[period as usize];
            let (spent, held) = (of.tally.counted.unit(unit), held.unit(unit));
            LimitState { period, unit, limit, spent, held, resets_at: of.resets_at }
        };
        let limits = self.config.limits.iter().map(state).collect();
        Ok(Report { now, periods, held, limits })
    }

    /// Says once for each period that a limit is near.
    fn warn(&self, user: &UserId, near: &[(Period, Unit)], resets_at: [Timestamp; 3]) {
        if near.is_empty() {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() > MOST_WARNED {
            warned.clear();
        }
        for (period, unit) in near {
            let until = resets_at[*period as usize];
            let before = warned.insert((user.clone(), *period, *unit), until);
            if before.is_none_or(|before| before < until) {
                let (unit, period) = (unit.name(), period.name());
                tracing::warn!(%user, unit, period, "a limit is near");
                metrics::counter!("livos_usage_warnings_total", "unit" => unit, "period" => period)
                    .increment(1);
            }
        }
    }
}

fn refused(exhausted: &Exhausted) {
    let (unit, period) = (exhausted.unit.name(), exhausted.period.name());
    metrics::counter!("livos_usage_refused_total", "unit" => unit, "period" => period).increment(1);
}

fn holds_key(user: &UserId) -> Key {
    counters::key(HOLDS.key(user.as_str()))
}
