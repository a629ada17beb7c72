//! Wall-clock time for what is persisted or promised by a provider: UTC, in milliseconds, handed in
//! as an argument.
//!
//! Behaviour in memory (turn taking, reconnect) uses `Instant` instead; a module uses one of the
//! two.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Milliseconds since 1970-01-01 00:00 UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since 1970-01-01 00:00 UTC.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01 00:00 UTC.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// This much later; the end of time at most.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier`; zero when it is not after, as when the clock was set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day it falls on.
    pub const fn day(self) -> UtcDay {
        UtcDay(self.0.div_euclid(DAY_MS))
    }
}

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct UtcDay(i64);

impl UtcDay {
    /// Its first instant.
    pub const fn start(self) -> Timestamp {
        Timestamp(self.0.saturating_mul(DAY_MS))
    }

    /// The day after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The Monday of its week, which is the day itself or one of the six before it.
    #[must_use]
    pub const fn monday(self) -> Self {
        // 1970-01-01 was a Thursday.
        Self(self.0.saturating_sub(self.0.saturating_add(3).rem_euclid(7)))
    }

    /// So many days later, or earlier.
    #[must_use]
    pub const fn plus_days(self, days: i64) -> Self {
        Self(self.0.saturating_add(days))
    }
}

/// The text is not a date as in 2026-11-23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a day is a date such as 2026-11-23")]
pub struct InvalidDay(());

impl std::str::FromStr for UtcDay {
    type Err = InvalidDay;

    /// Reads what `Display` writes, for the years 0 to 9999.
    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let mut parts = text.splitn(3, '-').map(|part| part.parse::<i64>().map_err(|_| InvalidDay(())));
        let mut part = || parts.next().unwrap_or(Err(InvalidDay(())));
        let (year, month, day) = (part()?, part()?, part()?);
        // The inverse of `Display`. Only a date that exists, in the form that is written here,
        // comes out of the round trip as it was.
        let (shifted_year, month_from_march) =
            if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let (era, year_of_era) = (shifted_year.div_euclid(400), shifted_year.rem_euclid(400));
        let day_of_year = (153 * month_from_march.clamp(0, 11) + 2) / 5 + day.clamp(1, 31) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let found = Self(era.clamp(-1, 25) * 146_097 + day_of_era - 719_468);
        if found.to_string() == text { Ok(found) } else { Err(InvalidDay(())) }
    }
}

impl fmt::Display for UtcDay {
    /// As in 2026-11-23, by the civil calendar.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Days are counted in eras of 400 years that begin on 1 March, which puts the leap day
        // last.
        let shifted = self.0 + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Where the present comes from.
///
/// ```
/// use livos_core::time::{Clock, Timestamp};
///
/// /// A clock that stands still.
/// struct Stopped(Timestamp);
///
/// impl Clock for Stopped {
///     fn now(&self) -> Timestamp {
///         self.0
///     }
/// }
///
/// let noon = Timestamp::from_unix_ms(12 * 3600 * 1000);
/// assert_eq!(Stopped(noon).now(), noon);
/// ```
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock. It may be stepped in either direction; nothing here relies on its going
/// forward.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        };
        Timestamp(ms)
    }
}

/// A clock that stands until it is set.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug, Default)]
pub struct ManualClock(std::sync::atomic::AtomicI64);

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: Timestamp) -> Self {
        Self(now.0.into())
    }

    /// Sets it, forward or back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.0, std::sync::atomic::Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, time: Duration) {
        self.set(self.now().plus(time));
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

/// A wall clock that runs with tokio's, paused time too, and can be set apart from it.
#[cfg(any(test, feature = "test-util"))]
#[derive(Debug)]
pub struct VirtualClock {
    base: ManualClock,
    started: tokio::time::Instant,
}

#[cfg(any(test, feature = "test-util"))]
impl VirtualClock {
    /// A clock that shows `now` and goes on from there. Must be made inside a tokio runtime.
    pub fn new(now: Timestamp) -> Self {
        Self { base: ManualClock::new(now), started: tokio::time::Instant::now() }
    }

    /// Sets it, forward or back, as an operator or a time server does; it goes on from there.
    pub fn set(&self, now: Timestamp) {
        let elapsed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.base.set(Timestamp(now.0 - elapsed));
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.base.now().plus(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_utc_and_print_as_dates() {
        let table = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400_000, "2000-02-29"),
            (1_795_391_999_999, "2026-11-22"),
        ];
        for (ms, date) in table {
            assert_eq!(Timestamp::from_unix_ms(ms).day().to_string(), date);
        }
        let day = Timestamp::from_unix_ms(1_795_392_000_000).day();
        assert_eq!((day.to_string().as_str(), day.start().unix_ms()), ("2026-11-23", 1_795_392_000_000));
        assert_eq!(day.next().start().since(day.start()), Duration::from_secs(86_400));
    }

    #[test]
    fn a_date_is_read_as_it_is_written_and_nothing_else_is() {
        for date in ["1969-12-31", "1970-01-01", "2000-02-29", "2026-11-24"] {
            assert_eq!(date.parse::<UtcDay>().unwrap().to_string(), date);
        }
        for text in
            ["", "2026-11-31", "2026-2-01", "20261124", "2026-11-24T00:00:00", "today", "+002026-11-24"]
        {
            assert!(text.parse::<UtcDay>().is_err(), "{text}");
        }
    }

    #[test]
    fn weeks_begin_on_monday() {
        let day = |date: &str| date.parse::<UtcDay>().unwrap();
        let table = [
            ("2026-11-22", "2026-11-16"),
            ("2026-11-23", "2026-11-23"),
            ("2026-11-24", "2026-11-23"),
            ("1970-01-01", "1969-12-29"),
            ("1969-12-28", "1969-12-22"),
        ];
        for (date, monday) in table {
            assert_eq!(day(date).monday(), day(monday), "{date}");
        }
        assert_eq!(day("2026-11-30").plus_days(-7), day("2026-11-23"));
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_negative_age() {
        let (early, late) = (Timestamp::from_unix_ms(5), Timestamp::from_unix_ms(9));
        assert_eq!((early.since(late), late.since(early)), (Duration::ZERO, Duration::from_millis(4)));
    }
}
