//! How jobs are worked on.

use std::time::Duration;

use async_trait::async_trait;

use super::{JobKind, Lease, LeaseError, Nack, QueueError};
use crate::{bell::News, time::Timestamp};

/// The side of a queue that workers use.
///
/// `now` is the caller's, so that tests need not wait. A clock that is set back delays jobs by at
/// most the step, and [`Work::tick`] repairs the leases. Every method may be cancelled; what was
/// sent by then may still happen.
///
/// ```
/// use livos_core::embedded::{Embedded, EmbeddedConfig};
/// use livos_core::queue::{EmbeddedQueue, Intake, JobKind, NewJob, QueueConfig, Work};
/// use livos_core::time::{Clock, SystemClock};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Embedded::in_memory(EmbeddedConfig::default())?;
/// let queue = EmbeddedQueue::new(file, QueueConfig::default());
/// let now = SystemClock.now();
/// queue.enqueue(now, NewJob::new(JobKind::from_static("mail"), "hello")).await?;
/// let lease = queue.lease(now, &[], Duration::from_secs(60)).await?.expect("a job is ready");
/// assert_eq!(lease.job().payload, "hello");
/// queue.ack(now, lease).await?;
/// assert_eq!(queue.depth().await?.total(), 0);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Work: Send + Sync {
    /// Leases the first job of these kinds, or of any kind if none is named, that its policy
    /// allows; `None` if there is no such job. Expired leases are taken over first, and a job whose
    /// attempts are used up becomes a dead letter then.
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError>;

    /// Hides the job for `visibility` from now on, and gives the lease back.
    async fn extend(&self, now: Timestamp, lease: Lease, visibility: Duration) -> Result<Lease, LeaseError>;

    /// Removes the job: it is done.
    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError>;

    /// Gives the job back.
    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError>;

    /// Enqueues repeated jobs that are due, forgets dedupe keys whose retention is over, and
    /// repairs leases from the future after the clock was set back. Answers how many jobs it
    /// enqueued. Any process may call it at any time.
    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError>;

    /// When something is due next that rings no bell: a delayed job, an expiring lease, a repeated
    /// job, or a rate limit that allows one more lease.
    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError>;

    /// Hears of jobs that become ready. A backend need not tell of what other processes do, so
    /// nobody may rely on it alone.
    fn listen(&self) -> News;
}
