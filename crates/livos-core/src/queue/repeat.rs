//! When a repeated job comes: an interval, or a cron expression in a time zone.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::job::{InvalidJob, JobKind, NewJob};
use crate::time::Timestamp;

/// How often a repeated job comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cadence {
    /// At this interval, at least a second, counted from when the job was first defined.
    Every(Duration),
    /// By a cron expression of five fields, or six with seconds in front, in a time zone.
    #[cfg(feature = "schedule")]
    Cron {
        /// As in `0 7 * * MON-FRI`.
        expression: String,
        /// An IANA name, as in `Europe/Berlin`. A time that the clock skips there comes right after
        /// the gap; one that it shows twice comes once.
        zone: String,
    },
}

/// What happens to times that passed while no process ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// They are skipped: the job comes at its next time.
    Skip,
    /// One job for all of them, at once.
    Once,
    /// One job for each, at most [`Repeat::MAX_MISSED`] of the latest.
    Each,
}

/// A job that comes again and again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Repeat {
    /// Its name, unique in its queue.
    pub name: String,
    /// The kind of its jobs.
    pub kind: JobKind,
    /// The payload of each.
    pub payload: Vec<u8>,
    /// How often they come.
    pub cadence: Cadence,
    /// What happens to times that were missed.
    pub missed: Missed,
}

impl Repeat {
    /// The most jobs that are made at once for missed times.
    pub const MAX_MISSED: usize = 100;

    /// A repeated job; [`Missed::Once`].
    pub fn new(
        name: impl Into<String>,
        kind: JobKind,
        payload: impl Into<Vec<u8>>,
        cadence: Cadence,
    ) -> Self {
        Self { name: name.into(), kind, payload: payload.into(), cadence, missed: Missed::Once }
    }

    /// Treats missed times by another rule.
    #[must_use]
    pub fn with_missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The first time after `time`, or what is wrong with the cadence.
    pub fn after(&self, time: Timestamp) -> Result<Timestamp, InvalidJob> {
        match &self.cadence {
            Cadence::Every(interval) if *interval >= Duration::from_secs(1) => Ok(time.plus(*interval)),
            Cadence::Every(_) => Err(InvalidJob::Schedule),
            #[cfg(feature = "schedule")]
            Cadence::Cron { expression, zone } => next_of(expression, zone, time),
        }
    }

    /// The times that are due at `now` if `next` was the next time, and the next time after that.
    pub(super) fn due(
        &self,
        next: Timestamp,
        now: Timestamp,
    ) -> Result<(Vec<Timestamp>, Timestamp), InvalidJob> {
        if next > now {
            // If the clock was set back by more than an interval, the job must not wait that much
            // longer.
            let soonest = self.after(now)?;
            return Ok((
                Vec::new(),
                if matches!(self.cadence, Cadence::Every(_)) { next.min(soonest) } else { next },
            ));
        }
        let mut passed = std::collections::VecDeque::new();
        let mut at = next;
        while at <= now {
            passed.push_back(at);
            if passed.len() > Self::MAX_MISSED {
                passed.pop_front();
            }
            let after = self.after(at)?;
            at = match &self.cadence {
                // Years of missed seconds are not counted one by one.
                Cadence::Every(interval) if self.missed != Missed::Each && after <= now => {
                    let periods = now.since(at).as_millis() / interval.as_millis().max(1);
                    let whole = u64::try_from(periods * interval.as_millis()).unwrap_or(u64::MAX);
                    at.plus(Duration::from_millis(whole.max(1)))
                }
                _ => after,
            };
        }
        // A time that is looked at within its own period was not missed.
        let on_time = passed.len() == 1;
        let due = match self.missed {
            Missed::Each => passed.into(),
            Missed::Once => passed.pop_back().into_iter().collect(),
            Missed::Skip if on_time => passed.into(),
            Missed::Skip => Vec::new(),
        };
        Ok((due, at))
    }

    /// The job of one of its times. Each time makes one job, even if several processes ask.
    pub(super) fn job(&self, time: Timestamp) -> NewJob {
        const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);
        let key = format!("repeat/{}/{}", self.name, time.unix_ms());
        NewJob::new(self.kind.clone(), Bytes::copy_from_slice(&self.payload)).deduped_by(key, REMEMBERED)
    }

    pub(super) fn check(&self) -> Result<(), InvalidJob> {
        if self.name.is_empty() || self.name.len() > 256 || self.name.chars().any(char::is_control) {
            return Err(InvalidJob::Schedule);
        }
        self.job(Timestamp::from_unix_ms(0)).check()
    }
}

/// The first time after `time` that a cron expression names in a zone.
#[cfg(feature = "schedule")]
fn next_of(expression: &str, zone: &str, time: Timestamp) -> Result<Timestamp, InvalidJob> {
    let cron: croner::Cron = expression.parse().map_err(|_| InvalidJob::Schedule)?;
    let from = jiff::Timestamp::from_millisecond(time.unix_ms()).map_err(|_| InvalidJob::Schedule)?;
    let from = from.in_tz(zone).map_err(|_| InvalidJob::Schedule)?;
    let next = cron.find_next_occurrence(&from, false).map_err(|_| InvalidJob::Schedule)?;
    Ok(Timestamp::from_unix_ms(next.timestamp().as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeat(cadence: Cadence, missed: Missed) -> Repeat {
        Repeat::new("watch", "gmail.renew".try_into().unwrap(), "x", cadence).with_missed(missed)
    }

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_unix_ms(seconds * 1000)
    }

    fn cron(expression: &str, zone: &str) -> Repeat {
        let cadence = Cadence::Cron { expression: expression.into(), zone: zone.into() };
        repeat(cadence, Missed::Once)
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::from_unix_ms(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn missed_times_follow_the_rule() {
        let minute = Cadence::Every(Duration::from_secs(60));
        for (missed, now, due, next) in [
            (Missed::Once, 59, vec![], 60),
            (Missed::Once, 60, vec![60], 120),
            (Missed::Once, 1000, vec![960], 1020),
            (Missed::Each, 200, vec![60, 120, 180], 240),
            (Missed::Skip, 100, vec![60], 120),
            (Missed::Skip, 1000, vec![], 1020),
            (Missed::Once, 1_000_000_000, vec![999_999_960], 1_000_000_020),
        ] {
            let due: Vec<_> = due.into_iter().map(seconds).collect();
            let answered = repeat(minute.clone(), missed).due(seconds(60), seconds(now)).unwrap();
            assert_eq!(answered, (due, seconds(next)), "{missed:?} at {now}");
        }
        let (due, _) = repeat(minute, Missed::Each).due(seconds(60), seconds(60_000)).unwrap();
        assert_eq!((due.len(), due.last()), (Repeat::MAX_MISSED, Some(&seconds(60_000))));
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_an_interval_longer() {
        let minute = repeat(Cadence::Every(Duration::from_secs(60)), Missed::Once);
        assert_eq!(minute.due(seconds(7200), seconds(0)).unwrap(), (vec![], seconds(60)));
    }

    #[test]
    fn cron_follows_the_clock_of_its_zone_over_its_changes() {
        let morning = cron("30 2 * * *", "Europe/Berlin");
        for (after, next) in [
            ("2026-01-10T12:00:00Z", "2026-01-11T01:30:00Z"),
            // 02:30 does not exist on the last Sunday of March, and exists twice on the last one of
            // October.
            ("2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            assert_eq!(morning.after(at(after)), Ok(at(next)), "after {after}");
        }
    }

    #[test]
    fn schedules_that_make_no_sense_are_refused() {
        for broken in [
            cron("61 * * * *", "UTC"),
            cron("* * * * *", "Mars/Olympus"),
            cron("0 0 30 2 *", "UTC"),
            repeat(Cadence::Every(Duration::from_millis(5)), Missed::Once),
        ] {
            assert_eq!(broken.after(seconds(0)), Err(InvalidJob::Schedule), "{:?}", broken.cadence);
        }
    }
}
