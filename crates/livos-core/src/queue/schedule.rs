//! Jobs that come again by themselves.

use async_trait::async_trait;

use super::{QueueError, Repeat};
use crate::time::Timestamp;

/// The side of a queue that keeps its repeated jobs, across restarts (P-07). They are enqueued by
/// [`Work::tick`](super::Work::tick).
///
/// ```
/// use livos_core::embedded::{Embedded, EmbeddedConfig};
/// use livos_core::queue::{Cadence, EmbeddedQueue, JobKind, QueueConfig, Repeat, Schedule};
/// use livos_core::time::{Clock, SystemClock};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = Embedded::in_memory(EmbeddedConfig::default())?;
/// let queue = EmbeddedQueue::new(file, QueueConfig::default());
/// let now = SystemClock.now();
/// let kind = JobKind::from_static("sweep");
/// let hourly = Cadence::Every(Duration::from_secs(3600));
/// queue.repeat(now, Repeat::new("sweep", kind, "", hourly)).await?;
/// assert_eq!(queue.repeats().await?[0].0.name, "sweep");
/// assert!(queue.unrepeat("sweep").await?);
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Schedule: Send + Sync {
    /// Adds a repeated job, or replaces the one of its name; if nothing changed, its next time
    /// stays.
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError>;

    /// Removes a repeated job; false if there is none of that name. Jobs that it made stay.
    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError>;

    /// The repeated jobs and when each comes next, by name.
    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError>;
}
