//! The decision about memory as a value: samples in, events out.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How memory is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryConfig {
    /// Resident bytes past which the process should end in order; none for no limit.
    pub soft_limit: Option<u64>,
    /// How often a sample is taken. 5 s: a leak takes minutes at least.
    pub sample_every: Duration,
    /// How long the limit must be passed. 10 s: three samples, so that a burst of big messages is
    /// forgiven.
    pub over_for: Duration,
    /// How often a line is logged. An hour: 720 lines a month tell when a leak began.
    pub line_every: Duration,
    /// Growth within [`MemoryConfig::WINDOW`] without load, in bytes, past which an alarm is
    /// raised. 50 MB: caches fill by less while nothing goes on.
    pub growth: u64,
}

impl MemoryConfig {
    /// The time over which growth is counted.
    pub const WINDOW: Duration = Duration::from_secs(3600);
    /// The soft limit in percent of what there is. 80: the rest is for the last answers, and for
    /// the kernel's own.
    pub const SHARE: u64 = 80;

    /// The defaults, and a soft limit of [`MemoryConfig::SHARE`] percent of so many bytes.
    pub fn below(bytes: u64) -> Self {
        Self { soft_limit: Some(bytes / 100 * Self::SHARE), ..Self::default() }
    }
}

crate::with_fields!(MemoryConfig {
    with_soft_limit => soft_limit: Option<u64>,
    with_sample_every => sample_every: Duration,
    with_over_for => over_for: Duration,
    with_line_every => line_every: Duration,
    with_growth => growth: u64,
});

impl Default for MemoryConfig {
    fn default() -> Self {
        Self {
            soft_limit: None,
            sample_every: Duration::from_secs(5),
            over_for: Duration::from_secs(10),
            line_every: Duration::from_secs(3600),
            growth: 50_000_000,
        }
    }
}

/// What was seen at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemorySample {
    /// Resident bytes.
    pub resident: u64,
    /// Work alive, as of [`Load::live`](crate::supervise::Load::live).
    pub live: u64,
    /// Work ever begun, as of [`Load::begun`](crate::supervise::Load::begun).
    pub begun: u64,
}

/// What there is to say about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryEvent {
    /// The regular line is due.
    Line(MemoryLine),
    /// Memory grew by this many bytes within an hour while nothing was alive: a leak. Said once an
    /// hour while it is so.
    Growing {
        /// Bytes.
        bytes: u64,
    },
    /// The soft limit was passed for long enough: drain and exit. Said once.
    Over(Overrun),
}

/// The regular line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLine {
    /// Resident bytes.
    pub resident: u64,
    /// The change since the last line, in bytes; zero in the first.
    pub change: i64,
    /// Work alive.
    pub live: u64,
    /// Work begun since the last line.
    pub begun: u64,
}

/// The soft limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrun {
    /// Resident bytes.
    pub resident: u64,
    /// The limit that they passed.
    pub soft_limit: u64,
}

/// The length of the steps in which growth is summed up. 60 of them are a window.
const STEP: Duration = Duration::from_secs(60);
/// How long growth must stand before it is called a leak: what is given back within five minutes
/// was in use.
const SETTLED: Duration = Duration::from_secs(300);

/// Watches one process. Time is that of a monotonic clock: setting the wall clock changes nothing.
///
/// Only growth **without load** counts as a leak: between two samples at which nothing was alive
/// and between which nothing was begun. What work leaves behind may be a cache; what grows while
/// nobody works is not.
#[derive(Debug, Clone)]
pub struct MemoryWatch {
    config: MemoryConfig,
    last: Option<MemorySample>,
    /// When the last line came, and what it said.
    line: Option<(Instant, MemorySample)>,
    over_since: Option<Instant>,
    told_over: bool,
    /// Growth without load by step, the newest last: when the step began, and the bytes.
    steps: VecDeque<(Instant, i64)>,
    growing_since: Option<Instant>,
    alarmed: Option<Instant>,
}

impl MemoryWatch {
    /// Has seen nothing yet.
    pub fn new(config: MemoryConfig) -> Self {
        Self {
            config,
            last: None,
            line: None,
            over_since: None,
            told_over: false,
            steps: VecDeque::new(),
            growing_since: None,
            alarmed: None,
        }
    }

    /// How it watches.
    pub fn config(&self) -> &MemoryConfig {
        &self.config
    }

    /// Takes a sample, and answers what there is to say, which is nothing most of the time.
    pub fn sample(&mut self, now: Instant, sample: MemorySample) -> Vec<MemoryEvent> {
        let events = [self.line(now, sample), self.growth(now, sample), self.over(now, sample)];
        self.last = Some(sample);
        events.into_iter().flatten().collect()
    }

    fn line(&mut self, now: Instant, sample: MemorySample) -> Option<MemoryEvent> {
        let before = match self.line {
            Some((at, _)) if now.saturating_duration_since(at) < self.config.line_every => return None,
            Some((_, before)) => before,
            None => sample,
        };
        self.line = Some((now, sample));
        Some(MemoryEvent::Line(MemoryLine {
            resident: sample.resident,
            change: difference(before.resident, sample.resident),
            live: sample.live,
            begun: sample.begun.saturating_sub(before.begun),
        }))
    }

    fn over(&mut self, now: Instant, sample: MemorySample) -> Option<MemoryEvent> {
        let soft_limit = self.config.soft_limit.filter(|limit| sample.resident > *limit);
        let Some(soft_limit) = soft_limit else {
            self.over_since = None;
            return None;
        };
        let since = *self.over_since.get_or_insert(now);
        if self.told_over || now.saturating_duration_since(since) < self.config.over_for {
            return None;
        }
        self.told_over = true;
        Some(MemoryEvent::Over(Overrun { resident: sample.resident, soft_limit }))
    }

    fn growth(&mut self, now: Instant, sample: MemorySample) -> Option<MemoryEvent> {
        let idle = |last: &MemorySample| last.live == 0 && sample.live == 0 && last.begun == sample.begun;
        if let Some(last) = self.last.filter(idle) {
            let change = difference(last.resident, sample.resident);
            match self.steps.back_mut() {
                Some((began, sum)) if now.saturating_duration_since(*began) < STEP => {
                    *sum = sum.saturating_add(change);
                }
                _ => self.steps.push_back((now, change)),
            }
        }
        while let Some((began, _)) = self.steps.front() {
            if now.saturating_duration_since(*began) < MemoryConfig::WINDOW {
                break;
            }
            self.steps.pop_front();
        }
        let bytes = self.most_growth();
        if bytes <= self.config.growth {
            self.growing_since = None;
            return None;
        }
        let since = *self.growing_since.get_or_insert(now);
        let fresh = |at| now.saturating_duration_since(at) < MemoryConfig::WINDOW;
        if now.saturating_duration_since(since) < SETTLED || self.alarmed.is_some_and(fresh) {
            return None;
        }
        self.alarmed = Some(now);
        Some(MemoryEvent::Growing { bytes })
    }

    /// The most that any stretch up to now has grown: what was given back at its beginning hides
    /// nothing.
    fn most_growth(&self) -> u64 {
        let sums = self.steps.iter().rev().scan(0i64, |sum, (_, change)| {
            *sum = sum.saturating_add(*change);
            Some(*sum)
        });
        sums.max().and_then(|most| u64::try_from(most).ok()).unwrap_or(0)
    }
}

fn difference(before: u64, after: u64) -> i64 {
    let signed = |bytes| i64::try_from(bytes).unwrap_or(i64::MAX);
    signed(after).saturating_sub(signed(before))
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)] // Tests make their `now` from a real instant.
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1_000_000;
    const EVERY: u64 = 5;

    /// Plays one sample every five seconds; answers what was said, with the second it was said at.
    fn play(
        config: MemoryConfig,
        seconds: u64,
        sample: impl Fn(u64) -> MemorySample,
    ) -> Vec<(u64, MemoryEvent)> {
        let (start, mut watch) = (Instant::now(), MemoryWatch::new(config));
        let at = |second| watch.sample(start + Duration::from_secs(second), sample(second));
        let times: Vec<u64> = (0..=seconds / EVERY).map(|n| n * EVERY).collect();
        let said: Vec<_> = times.iter().copied().zip(times.iter().copied().map(at)).collect();
        said.into_iter()
            .flat_map(|(second, events)| events.into_iter().map(move |event| (second, event)))
            .collect()
    }

    fn idle(resident: u64) -> MemorySample {
        MemorySample { resident, live: 0, begun: 0 }
    }

    fn alarms(said: &[(u64, MemoryEvent)]) -> Vec<u64> {
        said.iter()
            .filter(|(_, event)| matches!(event, MemoryEvent::Growing { .. }))
            .map(|(at, _)| *at)
            .collect()
    }

    #[test]
    fn a_line_comes_at_once_and_then_every_hour_with_what_changed() {
        let said = play(MemoryConfig::default(), 7200, |second| MemorySample {
            resident: 100 * MB + second * 1000,
            live: 3,
            begun: second,
        });
        let line = |at: u64| {
            let resident = 100 * MB + at * 1000;
            let (change, begun) = if at == 0 { (0, 0) } else { (3_600_000, 3600) };
            (at, MemoryEvent::Line(MemoryLine { resident, change, live: 3, begun }))
        };
        assert_eq!(said, [line(0), line(3600), line(7200)]);
    }

    #[test]
    fn past_the_limit_it_is_said_once_and_a_short_burst_is_forgiven() {
        let config = MemoryConfig::below(1000 * MB);
        let over = |said: Vec<(u64, MemoryEvent)>| {
            said.into_iter().filter(|(_, event)| matches!(event, MemoryEvent::Over(_))).collect::<Vec<_>>()
        };
        let at = |high: std::ops::Range<u64>| {
            move |second: u64| idle(if high.contains(&second) { 801 * MB } else { 800 * MB })
        };
        assert!(over(play(config, 600, at(100..110))).is_empty());
        let overrun = Overrun { resident: 801 * MB, soft_limit: 800 * MB };
        assert_eq!(over(play(config, 600, at(100..400))), [(110, MemoryEvent::Over(overrun))]);
        assert!(over(play(MemoryConfig::default(), 600, at(100..400))).is_empty(), "no limit, no end");
    }

    #[test]
    fn growth_without_load_is_a_leak_and_growth_with_load_is_not() {
        let leak = |per_hour: u64| move |second: u64| 100 * MB + second * per_hour * MB / 3600;
        let slow = play(MemoryConfig::default(), 4 * 3600, |second| idle(leak(49)(second)));
        assert_eq!(alarms(&slow), [] as [u64; 0]);
        let found = alarms(&play(MemoryConfig::default(), 4 * 3600, |second| idle(leak(60)(second))));
        // 50 MB take fifty minutes, and stand for five more; then it is said again every hour.
        assert_eq!(found, [3305, 6905, 10505, 14105]);
        let fast = alarms(&play(MemoryConfig::default(), 1800, |second| idle(leak(600)(second))));
        assert_eq!(fast.first(), Some(&605), "a fast one is found before the hour is over");
        let busy = play(MemoryConfig::default(), 4 * 3600, |second| MemorySample {
            resident: leak(600)(second),
            live: 1,
            begun: 1,
        });
        assert_eq!(alarms(&busy), [] as [u64; 0]);
        // Work that is over between two samples is work too.
        let brief = play(MemoryConfig::default(), 4 * 3600, |second| MemorySample {
            resident: leak(600)(second),
            live: 0,
            begun: second / EVERY,
        });
        assert_eq!(alarms(&brief), [] as [u64; 0]);
    }

    #[test]
    fn a_leak_is_found_between_calls_and_what_was_given_back_does_not_hide_it() {
        // Half of each hour somebody talks, at 300 MB more that are given back; whatever idles
        // leaks.
        let said = play(MemoryConfig::default(), 6 * 3600, |second| {
            let (hour, within) = (second / 3600, second % 3600);
            let leaked = (hour * 1800 + within.min(1800)) * 120 * MB / 3600;
            let live = u64::from(within > 1800);
            MemorySample { resident: 100 * MB + leaked + live * 300 * MB, live, begun: hour + live }
        });
        assert!(alarms(&said).len() >= 4, "{said:?}");
        // 200 MB are given back at first, and 60 MB leak after.
        let said = play(MemoryConfig::default(), 3600, |second| {
            idle(if second < 60 { 300 * MB } else { 100 * MB + (second - 60) * MB / 50 })
        });
        assert_eq!(alarms(&said).len(), 1, "{said:?}");
    }

    #[test]
    fn a_short_bulge_while_idle_is_no_leak() {
        let said = play(MemoryConfig::default(), 4 * 3600, |second| {
            idle(if second % 3600 < 200 { 200 * MB } else { 100 * MB })
        });
        assert_eq!(alarms(&said), [] as [u64; 0]);
    }

    proptest! {
        #[test]
        fn it_never_ends_a_process_that_stays_below_and_always_one_that_stays_above(
            limit in 100..1000u64,
            below in proptest::collection::vec(0..100u64, 1..200),
            excess in 1..1000u64,
            loads in proptest::collection::vec(0..3u64, 200),
        ) {
            let (start, mut watch) = (Instant::now(), MemoryWatch::new(MemoryConfig {
                soft_limit: Some(limit * MB),
                ..MemoryConfig::default()
            }));
            let mut now = start;
            for (part, live) in below.iter().zip(&loads) {
                now += Duration::from_secs(EVERY);
                let sample = MemorySample { resident: limit * MB * part / 100, live: *live, begun: 3 };
                prop_assert!(!watch.sample(now, sample).iter().any(|event| matches!(event, MemoryEvent::Over(_))));
                prop_assert!(watch.steps.len() <= 61, "bounded");
            }
            let mut said = 0;
            for _ in 0..4 {
                now += Duration::from_secs(EVERY);
                let events = watch.sample(now, idle((limit + excess) * MB));
                said += events.iter().filter(|event| matches!(event, MemoryEvent::Over(_))).count();
            }
            prop_assert_eq!(said, 1);
        }
    }
}
