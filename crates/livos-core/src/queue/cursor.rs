//! How far a polled channel was read, kept beside the jobs so that both move in one step (P-19).
//!
//! A provider that is polled forgets what it believes to be read. A cursor that moves before its
//! jobs are durable loses them at a crash; one that moves after them repeats them. So there is one
//! call for both.

use bytes::Bytes;

use super::job::{self, InvalidJob, NewJob, is_key};

/// Some steps of reading, to be taken in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advance {
    /// The cursor: 1 to 512 bytes without control characters, such as `telegram/123456`.
    pub cursor: String,
    /// The number of whoever reads, growing with each that takes over, such as that of a
    /// [`Guard`](crate::store::Guard). One that was taken over from can neither move the cursor nor
    /// enqueue.
    pub fence: u64,
    /// What was read.
    pub steps: Vec<Step>,
}

/// One thing that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is to be done about it; none for what is only to be read over.
    pub job: Option<NewJob>,
    /// Where reading goes on after it, in the reader's own form.
    pub position: Bytes,
}

impl Advance {
    /// The most steps at one time. 1000: ten times the longest answer of a provider that is polled.
    pub const MAX_STEPS: usize = job::MAX_STEPS;
    /// The longest position, in bytes. 64 KiB: it says where something is, and does not hold it.
    pub const MAX_POSITION: usize = job::MAX_POSITION;

    /// No steps yet.
    pub fn new(cursor: impl Into<String>, fence: u64) -> Self {
        Self { cursor: cursor.into(), fence, steps: Vec::new() }
    }

    /// One step more.
    #[must_use]
    pub fn step(mut self, job: Option<NewJob>, position: impl Into<Bytes>) -> Self {
        self.steps.push(Step { job, position: position.into() });
        self
    }

    /// Checks what every backend refuses.
    pub fn check(&self) -> Result<(), InvalidJob> {
        let long = |step: &Step| step.position.len() > Self::MAX_POSITION;
        if !is_key(&self.cursor) || self.steps.len() > Self::MAX_STEPS || self.steps.iter().any(long) {
            return Err(InvalidJob::Cursor);
        }
        self.steps.iter().filter_map(|step| step.job.as_ref()).try_for_each(NewJob::check)
    }
}

/// What [`Intake::advance`](super::Intake::advance) came to. All of it is durable when it is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advanced {
    /// The cursor stands behind so many of the steps: all, or those before the first job that found
    /// the queue full.
    Moved {
        /// Steps that were taken.
        steps: usize,
        /// Jobs that are in the queue now.
        enqueued: usize,
        /// Jobs that were in it, or had been.
        duplicates: usize,
    },
    /// Somebody with a higher fence moved the cursor: nothing was changed.
    Stale {
        /// The fence that stands there.
        fence: u64,
    },
}

/// Where reading goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// As the reader wrote it.
    pub position: Bytes,
    /// Of whoever moved it last.
    pub fence: u64,
}
