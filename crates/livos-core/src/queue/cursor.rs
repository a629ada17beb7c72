//! How far a polled channel was read, stored with the jobs so that both move in one step (P-19).
//!
//! A provider that is polled forgets what it takes to be read. If the cursor moved before its jobs
//! are durable, a crash would lose them; if it moved later, a crash would repeat them. So one call
//! does both.

use bytes::Bytes;

use super::job::{self, InvalidJob, NewJob, is_key};

/// Steps of reading, taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advance {
    /// The name of the cursor: 1 to 512 bytes without control characters, such as
    /// `telegram/123456`.
    pub cursor: String,
    /// A number that grows with each process that takes the reading over, such as the fence of a
    /// [`Guard`](crate::store::Guard). A process that was taken over from can neither move the
    /// cursor nor enqueue.
    pub fence: u64,
    /// What was read, oldest first; at most [`Advance::MAX_STEPS`].
    pub steps: Vec<Step>,
}

/// One update or message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The job to enqueue; `None` if it only has to be read past.
    pub job: Option<NewJob>,
    /// Where reading goes on after it, in a form that the reader chooses.
    pub position: Bytes,
}

impl Advance {
    /// The most steps of one call. 1000: ten times the longest answer of a provider that is polled.
    pub const MAX_STEPS: usize = job::MAX_STEPS;
    /// The longest position, in bytes. 64 KiB: it says where something is and does not hold it.
    pub const MAX_POSITION: usize = job::MAX_POSITION;

    /// An advance without steps.
    pub fn new(cursor: impl Into<String>, fence: u64) -> Self {
        Self { cursor: cursor.into(), fence, steps: Vec::new() }
    }

    /// Adds one step at the end.
    #[must_use]
    pub fn step(mut self, job: Option<NewJob>, position: impl Into<Bytes>) -> Self {
        self.steps.push(Step { job, position: position.into() });
        self
    }

    /// Checks the bounds that all backends share.
    pub fn check(&self) -> Result<(), InvalidJob> {
        let long = |step: &Step| step.position.len() > Self::MAX_POSITION;
        if !is_key(&self.cursor) || self.steps.len() > Self::MAX_STEPS || self.steps.iter().any(long) {
            return Err(InvalidJob::Cursor);
        }
        self.steps.iter().filter_map(|step| step.job.as_ref()).try_for_each(NewJob::check)
    }
}

/// The answer of [`Intake::advance`](super::Intake::advance). What it says is durable when it is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// The cursor is past this many steps: all of them, or those before the first job that found
    /// the queue full.
    Moved {
        /// Steps that were taken.
        steps: usize,
        /// Jobs that were enqueued.
        enqueued: usize,
        /// Jobs that were duplicates.
        duplicates: usize,
    },
    /// A process with a higher fence has moved the cursor. Nothing was changed.
    Stale {
        /// The fence that is stored with the cursor.
        fence: u64,
    },
}

/// The stored position of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// The position, as the reader wrote it.
    pub position: Bytes,
    /// The fence of the process that moved it last.
    pub fence: u64,
}
