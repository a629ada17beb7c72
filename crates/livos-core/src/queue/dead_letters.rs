//! Jobs that were given up.

use async_trait::async_trait;
use bytes::Bytes;

use super::{JobId, JobKind, QueueError};
use crate::time::Timestamp;

/// A job that was given up, kept until somebody replays or discards it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id that the job had.
    pub id: JobId,
    /// By which it was routed.
    pub kind: JobKind,
    /// What was to be done, as it was enqueued.
    pub payload: Bytes,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// When it was first enqueued.
    pub enqueued_at: Timestamp,
    /// When it was given up.
    pub died_at: Timestamp,
}

/// The side of a queue for operators.
///
/// ```
/// use livos_core::embedded::{Embedded, EmbeddedConfig};
/// use livos_core::queue::{DeadLetters, EmbeddedQueue, Intake, JobKind, NewJob, QueueConfig};
/// use livos_core::queue::{Nack, Work};
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
/// queue.nack(now, lease, Nack::Dead { reason: "no such address".into() }).await?;
/// let letters = queue.dead(None, 10).await?;
/// assert_eq!(letters[0].reason, "no such address");
/// assert!(queue.replay(now, letters[0].id).await?);
/// assert_eq!(queue.depth().await?.ready, 1);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// At most `limit` dead letters with ids after `after`, oldest first.
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError>;

    /// Makes a dead letter a job again, with all its attempts, at the end of the queue; false if
    /// there is no such letter. It is let in even if the queue is full, because an operator asked
    /// for it.
    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError>;

    /// Deletes a dead letter; false if there is no such letter.
    async fn discard(&self, id: JobId) -> Result<bool, QueueError>;
}
