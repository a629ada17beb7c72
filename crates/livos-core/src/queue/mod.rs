//! Durable jobs, delivered at least once: what was enqueued survives `kill -9`, and a worker that
//! dies is taken over from.
//!
//! One queue for everything, routed by [`JobKind`] (I-02): a kind has its own concurrency and its
//! own rate (I-04), so that one slow provider holds up nobody else. Dedupe is a property of
//! [`Queue::enqueue`] and not a step before it: marking a delivery as seen and then failing to
//! enqueue it would lose it, because the provider's next try would be refused as a duplicate.
//!
//! A lease hides a job for a visibility timeout. It carries a fence: once the job was taken over,
//! the old worker's ack is refused.

#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod cursor;
mod embedded;
mod job;
mod observe;
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod schedule;
#[cfg(feature = "redis")]
mod spill;
#[cfg(test)]
mod tests;
mod worker;

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;

pub use self::{
    cursor::{Advance, Advanced, Cursor, Step},
    embedded::EmbeddedQueue,
    job::{
        DeadLetter, DedupeKey, Depth, Enqueued, InvalidJob, JobId, JobKind, Lease, LeaseLost, Nack, NewJob,
        Token,
    },
    observe::observe,
    schedule::{Cadence, Missed, Repeat},
    worker::{Outcome, Worker, WorkerConfig},
};
#[cfg(feature = "redis")]
pub use self::{
    redis::RedisQueue,
    spill::{Health, SpillConfig, SpillQueue},
};
use crate::{bell::News, embedded::StorageError, time::Timestamp};

/// The families of keys that the queue keeps in a store.
#[cfg(feature = "redis")]
pub(crate) const FAMILIES: &[crate::store::Family] = &[spill::EPOCH];

/// The bounds of a queue. All processes that share a queue must agree on them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct QueueConfig {
    /// Jobs beyond which [`Queue::enqueue`] answers [`Enqueued::Full`]. 500: minutes of work for a
    /// small server; more would only hide that it is behind.
    pub refuse_at: u64,
    /// Jobs from which on an alert is logged and counted. 100.
    pub alert_at: u64,
    /// What single kinds may do; the others may do everything.
    pub kinds: BTreeMap<JobKind, KindPolicy>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { refuse_at: 500, alert_at: 100, kinds: BTreeMap::new() }
    }
}

impl QueueConfig {
    /// Tells logs and metrics what came of an enqueue, with the depth after it.
    fn tell(&self, enqueued: Enqueued, kind: &JobKind, depth: u64) {
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
}

impl QueueConfig {
    /// The same for all jobs of an advance, each with the depth after it.
    fn tell_all(&self, steps: usize, jobs: &[(Enqueued, JobKind, u64)]) -> Advanced {
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

/// A reason is for people: the beginning of it is enough.
fn bounded(mut reason: String) -> String {
    const MOST: usize = 1000;
    reason.truncate(reason.floor_char_boundary(MOST));
    reason
}

/// What a kind of job may do, over all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KindPolicy {
    /// Leases at one time; none for any number.
    pub concurrency: Option<u32>,
    /// Leases in a time, evenly spread after the first burst; none for any number.
    pub rate: Option<Rate>,
}

impl KindPolicy {
    /// The same as by `Default`, for constants.
    pub const DEFAULT: Self = Self { concurrency: None, rate: None };

    /// At most so many leases at one time.
    #[must_use]
    pub const fn with_concurrency(mut self, leases: u32) -> Self {
        self.concurrency = Some(leases);
        self
    }

    /// At most so many leases in this time.
    #[must_use]
    pub const fn with_rate(mut self, leases: u32, per: Duration) -> Self {
        self.rate = Some(Rate { leases, per });
        self
    }
}

/// A bucket of tokens: full at first, and filled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// What the bucket holds.
    pub leases: u32,
    /// How long an empty one takes to be full.
    pub per: Duration,
}

/// A queue of jobs. Cheap to share; every method may be cancelled, and what was sent by then may
/// still happen.
///
/// `now` is the caller's: tests need not wait, and a clock that is set back delays jobs by at most
/// the step, which [`Queue::tick`] repairs for leases.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Takes a job in, in one atomic step with its dedupe key. Durable when it is answered.
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError>;

    /// Takes the jobs of some steps in, in order, and moves a cursor behind them, all in one atomic
    /// step: after a crash at any instant the cursor stands behind exactly the steps whose jobs are
    /// durable. A job that is remembered already is a step all the same.
    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError>;

    /// Where a cursor stands; none where it was never moved. Nothing removes it: its reader may
    /// come back after any time.
    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError>;

    /// Leases the first job of these kinds, or of any kind where none is named, that its policy
    /// allows; none where there is none. Leases that expired are taken over first; a job whose
    /// attempts are used up becomes a dead letter then.
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError>;

    /// Hides the job for `visibility` from now on.
    async fn extend(
        &self,
        now: Timestamp,
        token: Token,
        visibility: Duration,
    ) -> Result<Result<(), LeaseLost>, QueueError>;

    /// The job is done, and gone.
    async fn ack(&self, now: Timestamp, token: Token) -> Result<Result<(), LeaseLost>, QueueError>;

    /// The job is given back.
    async fn nack(
        &self,
        now: Timestamp,
        token: Token,
        how: Nack,
    ) -> Result<Result<(), LeaseLost>, QueueError>;

    /// Dead letters with ids after `after`, oldest first, at most `limit`.
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError>;

    /// Makes a dead letter a job again, with all its attempts, at the end of the queue; false where
    /// there is none. It is let in even when the queue is full, because an operator asked for it.
    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError>;

    /// Throws a dead letter away; false where there is none.
    async fn discard(&self, id: JobId) -> Result<bool, QueueError>;

    /// How many jobs there are.
    async fn depth(&self) -> Result<Depth, QueueError>;

    /// Makes a repeated job known, or changes it; one that is defined as it was before keeps its
    /// next time. Survives restarts (P-07).
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError>;

    /// Forgets a repeated job; false where there is none. Jobs that it made stay.
    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError>;

    /// The repeated jobs, with when each comes next, by name.
    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError>;

    /// Enqueues the repeated jobs that are due, forgets dedupe keys whose time is over, and repairs
    /// leases from the future after the clock was set back. Answers how many jobs it enqueued. Any
    /// process may call it, as often as it likes.
    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError>;

    /// When something is due next that no bell tells of: a delayed job, an expiring lease, a
    /// repeated job, a rate that allows one more.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError>;

    /// Hears of jobs that become ready. A backend need not tell of what other processes do, so
    /// nobody may rely on it alone.
    fn listen(&self) -> News;
}

/// Why the queue could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// No queue takes this job.
    #[error("the job is not one")]
    Invalid(#[from] InvalidJob),
    /// The file failed.
    #[error("the embedded queue failed")]
    Storage(#[from] StorageError),
    /// The server failed.
    #[cfg(feature = "redis")]
    #[error("the queue in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl QueueError {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            Self::Storage(error) => matches!(error, StorageError::DiskFull | StorageError::Io(_)),
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.is_temporary(),
        }
    }
}

#[cfg(feature = "redis")]
impl crate::redis::OfRedis for QueueError {
    fn redis(&self) -> Option<&crate::redis::RedisError> {
        if let Self::Redis(error) = self { Some(error) } else { None }
    }
}
