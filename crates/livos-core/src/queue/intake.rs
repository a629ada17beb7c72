//! How jobs come in.

use async_trait::async_trait;

use super::{Advance, Advanced, Cursor, Depth, Enqueued, NewJob, QueueError};
use crate::time::Timestamp;

/// The side of a queue that takes jobs in.
///
/// `now` is the caller's, so that tests need not wait. Every method may be cancelled; what was sent
/// by then may still happen.
///
/// ```
/// use livos_core::embedded::{Embedded, EmbeddedConfig};
/// use livos_core::queue::{EmbeddedQueue, Enqueued, Intake, JobKind, NewJob, QueueConfig};
/// use livos_core::time::{Clock, SystemClock};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Embedded::in_memory(EmbeddedConfig::default())?;
/// let queue = EmbeddedQueue::new(file, QueueConfig::default());
/// let now = SystemClock.now();
/// let hour = Duration::from_secs(3600);
/// let job = NewJob::new(JobKind::from_static("mail"), "hello").deduped_by("message 7", hour);
/// assert!(matches!(queue.enqueue(now, job.clone()).await?, Enqueued::Enqueued(_)));
/// assert!(matches!(queue.enqueue(now, job).await?, Enqueued::Duplicate(_)));
/// assert_eq!(queue.depth().await?.ready, 1);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes a job in and remembers its dedupe key, in one atomic step. It is durable once this
    /// answers.
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError>;

    /// Takes in the jobs of some steps, in order, and moves a cursor past them, in one atomic step:
    /// after a crash the cursor is past exactly the steps whose jobs are durable. A job that is a
    /// duplicate is a step too.
    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError>;

    /// The position of a cursor; `None` if it was never moved. Nothing removes it, because its
    /// reader may come back after any time.
    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError>;

    /// How many jobs there are, by state.
    async fn depth(&self) -> Result<Depth, QueueError>;
}
