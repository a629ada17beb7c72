//! The queue in the embedded file.
//!
//! Every method is one transaction. Changes go through the file's writer; reads see the last commit
//! and wait for nobody.

mod change;
mod row;
mod view;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;

use self::{change::Change, row::DEAD, row::JOBS, row::REPEATS, view::View};
use super::{
    Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, Enqueued, Intake, JobId, JobKind, Lease,
    LeaseError, Nack, NewJob, QueueConfig, QueueError, Repeat, Schedule, Work,
};
use crate::{
    bell::News,
    embedded::{Embedded, Read, Snapshot, StorageError},
    time::Timestamp,
};

/// A [`Queue`](super::Queue) over an [`Embedded`] file.
#[derive(Debug, Clone)]
pub struct EmbeddedQueue {
    file: Embedded,
    config: QueueConfig,
}

impl EmbeddedQueue {
    /// The queue in this file. Leases of an earlier opening are taken over by the first lease of
    /// this one: nobody else can have the file open, so their workers are gone.
    pub fn new(file: Embedded, config: QueueConfig) -> Self {
        Self { file, config }
    }

    /// Takes in a job that was checked already, or that wraps another one.
    pub(super) async fn enqueue_any(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        let (bound, kind) = (self.config.refuse_at, job.kind.clone());
        let (enqueued, depth) = self
            .change(now, move |change| {
                let enqueued = change.enqueue(&job, Some(bound))?;
                Ok((enqueued, change.tables.len(JOBS)?))
            })
            .await?;
        self.config.tell(enqueued, &kind, depth);
        if matches!(enqueued, Enqueued::Enqueued(_)) {
            self.file.bell.ring();
        }
        Ok(enqueued)
    }

    async fn change<T: Send + 'static>(
        &self,
        now: Timestamp,
        change: impl FnOnce(&mut Change<'_, '_>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, QueueError> {
        Ok(self.file.write(move |tables| change(&mut Change { tables, now })).await?)
    }

    async fn view<T: Send + 'static>(
        &self,
        now: Timestamp,
        view: impl FnOnce(View<'_, Snapshot>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, QueueError> {
        Ok(self.file.read(move |tables| view(View { tables, now })).await?)
    }
}

#[async_trait]
impl Intake for EmbeddedQueue {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        self.enqueue_any(now, job).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        advance.check()?;
        let bound = self.config.refuse_at;
        let taken = match self.change(now, move |change| change.advance(&advance, bound)).await? {
            Ok(taken) => taken,
            Err(fence) => return Ok(Advanced::Stale { fence }),
        };
        let advanced = self.config.tell_all(taken.steps, &taken.jobs);
        self.file.bell.ring();
        Ok(advanced)
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        let name = name.to_owned();
        self.view(Timestamp::default(), move |view| view.cursor(&name)).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.view(Timestamp::default(), |view| view.depth()).await
    }
}

#[async_trait]
impl Work for EmbeddedQueue {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        let (kinds, policies) = (kinds.to_vec(), self.config.kinds.clone());
        let opening = Arc::clone(&self.file.opening);
        let leased = self.change(now, move |change| {
            if !opening.reclaimed.load(Ordering::SeqCst) {
                // Read once, before the first lease of this opening, and by the writer alone.
                let last = change.last_lease()?;
                change.reclaim(*opening.last_lease.get_or_init(|| last))?;
            }
            change.lease(&kinds, visibility, &policies)
        });
        let leased = leased.await?;
        // Only once it is durable; until then it is done again, which changes nothing.
        self.file.opening.reclaimed.store(true, Ordering::SeqCst);
        Ok(leased)
    }

    async fn extend(&self, now: Timestamp, lease: Lease, visibility: Duration) -> Result<Lease, LeaseError> {
        let (id, fence) = (lease.id, lease.fence());
        lease.checked(self.change(now, move |change| change.extend(id, fence, visibility)).await)
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        let (id, fence) = (lease.id, lease.fence());
        let acked = self.change(now, move |change| change.ack(id, fence)).await;
        // A kind with a bound has room again.
        self.file.bell.ring();
        lease.checked(acked).map(drop)
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        let (id, fence) = (lease.id, lease.fence());
        let nacked = self.change(now, move |change| change.nack(id, fence, how)).await;
        self.file.bell.ring();
        lease.checked(nacked).map(drop)
    }

    /// Writes only if there is something to change, because a write waits for the disk and a worker
    /// ticks before every lease.
    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        if !self.view(now, |view| view.tick_is_due()).await? {
            return Ok(0);
        }
        let bound = self.config.refuse_at;
        let enqueued = self.change(now, move |change| change.tick(bound)).await?;
        if enqueued > 0 {
            self.file.bell.ring();
        }
        Ok(enqueued)
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        let policies = self.config.kinds.clone();
        self.view(now, move |view| view.next_due(&policies)).await
    }

    fn listen(&self) -> News {
        self.file.bell.listen()
    }
}

#[async_trait]
impl DeadLetters for EmbeddedQueue {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.view(Timestamp::default(), move |view| view.dead(after, limit)).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        let replayed = self.change(now, move |change| change.replay(id)).await?;
        self.file.bell.ring();
        Ok(replayed)
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        Ok(self.file.write(move |tables| tables.remove(DEAD, &id.0.to_be_bytes())).await?)
    }
}

#[async_trait]
impl Schedule for EmbeddedQueue {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        repeat.check()?;
        let first = repeat.after(now)?;
        self.change(now, move |change| change.repeat(&repeat, first)).await?;
        self.file.bell.ring();
        Ok(())
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        let name = name.to_owned();
        Ok(self.file.write(move |tables| tables.remove(REPEATS, name.as_bytes())).await?)
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.view(Timestamp::default(), |view| view.repeats()).await
    }
}
