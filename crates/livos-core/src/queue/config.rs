//! The bounds of a queue and of the kinds of its jobs.

use std::{collections::BTreeMap, time::Duration};

use super::{Advanced, Enqueued, JobKind};

/// The bounds of a queue. All processes that share a queue must agree on them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueConfig {
    /// Jobs beyond which [`Intake::enqueue`](super::Intake::enqueue) answers [`Enqueued::Full`].
    /// 500: minutes of work for a small server; more would only hide that it is behind.
    pub refuse_at: u64,
    /// Jobs at which an alert is logged and counted. 100.
    pub alert_at: u64,
    /// Bounds of single kinds; the others have none.
    pub kinds: BTreeMap<JobKind, KindPolicy>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { refuse_at: 500, alert_at: 100, kinds: BTreeMap::new() }
    }
}

impl QueueConfig {
    /// Refuses jobs when there are this many.
    #[must_use]
    pub fn with_refuse_at(mut self, jobs: u64) -> Self {
        self.refuse_at = jobs;
        self
    }

    /// Alerts when there are this many jobs.
    #[must_use]
    pub fn with_alert_at(mut self, jobs: u64) -> Self {
        self.alert_at = jobs;
        self
    }

    /// Bounds the leases of one kind.
    #[must_use]
    pub fn with_kind(mut self, kind: JobKind, policy: KindPolicy) -> Self {
        self.kinds.insert(kind, policy);
        self
    }

    /// Logs and counts the answer of an enqueue, with the depth after it.
    pub(super) fn tell(&self, enqueued: Enqueued, kind: &JobKind, depth: u64) {
        metrics::gauge!("livos_queue_depth").set(depth as f64);
        let kind = kind.to_string();
        match enqueued {
            Enqueued::Enqueued(_) if depth == self.alert_at => {
                metrics::counter!("livos_queue_alerts_total").increment(1);
                tracing::warn!(depth, refused_at = self.refuse_at, "the queue is filling");
            }
            Enqueued::Enqueued(_) | Enqueued::Spilled => {}
            Enqueued::Full { depth } => {
                tracing::warn!(depth, kind, "the queue is full and refused a job");
                metrics::counter!("livos_queue_refused_total", "kind" => kind).increment(1);
            }
            Enqueued::Duplicate(_) => {
                metrics::counter!("livos_queue_duplicates_total", "kind" => kind).increment(1);
            }
        }
    }

    /// The same for all jobs of an advance, each with the depth after it.
    pub(super) fn tell_all(&self, steps: usize, jobs: &[(Enqueued, JobKind, u64)]) -> Advanced {
        let (mut enqueued, mut duplicates) = (0, 0);
        for (what, kind, depth) in jobs {
            self.tell(*what, kind, *depth);
            match what {
                Enqueued::Enqueued(_) | Enqueued::Spilled => enqueued += 1,
                Enqueued::Duplicate(_) => duplicates += 1,
                Enqueued::Full { .. } => {}
            }
        }
        Advanced::Moved { steps, enqueued, duplicates }
    }
}

/// The beginning of a reason, which is for people.
pub(super) fn bounded(reason: &str) -> &str {
    const MOST: usize = 1000;
    &reason[..reason.floor_char_boundary(MOST)]
}

/// The bounds of a kind, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KindPolicy {
    /// Leases at one time; `None` for no bound.
    pub concurrency: Option<u32>,
    /// A rate of leases, evenly spread after the first burst; `None` for no bound.
    pub rate: Option<Rate>,
}

impl KindPolicy {
    /// The same as by `Default`, for constants.
    pub const DEFAULT: Self = Self { concurrency: None, rate: None };

    /// At most this many leases at one time.
    #[must_use]
    pub const fn with_concurrency(mut self, leases: u32) -> Self {
        self.concurrency = Some(leases);
        self
    }

    /// At most this many leases in this time.
    #[must_use]
    pub const fn with_rate(mut self, leases: u32, per: Duration) -> Self {
        self.rate = Some(Rate { leases, per });
        self
    }
}

/// A token bucket: full at first, and filled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// The capacity of the bucket: the largest burst.
    pub leases: u32,
    /// How long an empty bucket takes to fill.
    pub per: Duration,
}
