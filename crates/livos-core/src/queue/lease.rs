//! The right to work on a job, which is used up by whatever is done with it.

use std::{ops::Deref, time::Duration};

use bytes::Bytes;

use super::{JobId, JobKind, QueueError};
use crate::time::Timestamp;

/// A job as the worker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Unique in its queue; a replayed dead letter gets another one.
    pub id: JobId,
    /// By which it was routed here.
    pub kind: JobKind,
    /// What is to be done, as it was enqueued.
    pub payload: Bytes,
    /// The number of this attempt, from 1.
    pub attempt: u32,
    /// The number of the last attempt that it may have.
    pub max_attempts: u32,
    /// How often it waited for the end of an outage, by [`Nack::Wait`].
    pub waits: u32,
    /// When it was first enqueued.
    pub enqueued_at: Timestamp,
}

/// The right to work on a [`Job`] for a while; it reads as its job.
///
/// There is one value for each lease: [`Work::ack`](super::Work::ack) and
/// [`Work::nack`](super::Work::nack) consume it and [`Work::extend`](super::Work::extend) gives it
/// back renewed, so a lease that was settled or lost can't be used again. If it is dropped, the job
/// comes back when its visibility timeout is over.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a job comes back when its lease is dropped, and its attempt counts"]
pub struct Lease {
    job: Job,
    fence: u64,
}

impl Lease {
    /// For implementations of [`Work`](super::Work): `fence` is higher than that of every earlier
    /// lease of the queue.
    pub fn new(job: Job, fence: u64) -> Self {
        Self { job, fence }
    }

    /// The number of the lease in its queue. A backend compares it with the one that it stored, so
    /// that a worker that was taken over from can't settle the job.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// The job without the right to it, for the service that does the work.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What the backend answered about this lease: whether it was still held.
    pub(super) fn checked(self, held: Result<bool, QueueError>) -> Result<Self, LeaseError> {
        match held {
            Ok(true) => Ok(self),
            Ok(false) => Err(LeaseError::Lost),
            Err(source) => Err(LeaseError::Failed { lease: Box::new(self), source }),
        }
    }
}

impl Deref for Lease {
    type Target = Job;

    fn deref(&self) -> &Job {
        &self.job
    }
}

/// Why a lease was neither extended nor settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseError {
    /// It expired and another worker has the job, or the job is gone. Nothing was changed.
    #[error("the lease is not held any more")]
    Lost,
    /// The queue failed, and may or may not have done it. The lease comes back to try again; if it
    /// was done, the next call answers [`LeaseError::Lost`].
    #[error("the queue failed while it settled or extended a lease")]
    Failed {
        /// The lease that was handed in.
        lease: Box<Lease>,
        /// Why the queue failed.
        source: QueueError,
    },
}

impl LeaseError {
    /// Whether the lease is gone for good.
    pub fn is_lost(&self) -> bool {
        matches!(self, Self::Lost)
    }
}

/// How a lease is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nack {
    /// The attempt failed: the job comes again after this time, or is dead if this was its last
    /// attempt.
    Retry {
        /// How long the job is hidden.
        after: Duration,
        /// Kept in the dead letter, at most 1000 bytes.
        reason: String,
    },
    /// Something that every job needs is missing: a provider is away, a key is refused, a budget is
    /// used up. The job comes again after this time and the attempt does not count, so an outage of
    /// days costs no job.
    Wait {
        /// How long the job is hidden.
        after: Duration,
    },
    /// The job can't succeed: it is dead at once.
    Dead {
        /// Kept in the dead letter, at most 1000 bytes.
        reason: String,
    },
    /// The job was not tried: it is ready at once and the attempt does not count. For a worker that
    /// drains.
    Release,
}
