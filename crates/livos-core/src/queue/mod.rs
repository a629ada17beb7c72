//! Durable jobs, delivered at least once: what was enqueued survives `kill -9`, and the jobs of a
//! worker that dies are taken over.
//!
//! One queue for everything, routed by [`JobKind`] (I-02): a kind has its own concurrency and its
//! own rate (I-04), so one slow provider holds up nobody else. Dedupe is a property of
//! [`Intake::enqueue`] and not a step before it: marking a delivery as seen and then failing to
//! enqueue it would lose it, because the provider's retry would be refused as a duplicate.
//!
//! A lease hides a job for a visibility timeout. It carries a fencing token: once another worker
//! has taken the job over, the old worker's ack is refused. [`Queue`] is four traits: code that
//! only takes jobs in needs an [`Intake`].

mod config;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod cursor;
mod dead_letters;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod intake;
mod job;
mod lease;
mod observe;
pub mod payload;
mod rate;
#[cfg(feature = "redis")]
mod redis;
mod repeat;
mod schedule;
#[cfg(feature = "redis")]
mod spill;
#[cfg(test)]
mod tests;
mod work;
mod worker;

#[cfg(feature = "embedded")]
pub use self::embedded::EmbeddedQueue;
#[cfg(feature = "redis")]
pub(crate) use self::spill::FAMILIES;
pub use self::{
    config::{KindPolicy, QueueConfig, Rate},
    cursor::{Advance, Advanced, Cursor, Step},
    dead_letters::{DeadLetter, DeadLetters},
    error::QueueError,
    intake::Intake,
    job::{DedupeKey, Depth, Enqueued, InvalidJob, JobId, JobKind, NewJob},
    lease::{Job, Lease, LeaseError, Nack},
    observe::observe,
    repeat::{Cadence, Missed, Repeat},
    schedule::Schedule,
    work::Work,
    worker::{Outcome, Worker, WorkerConfig},
};
#[cfg(feature = "redis")]
pub use self::{
    redis::RedisQueue,
    spill::{Health, SpillConfig, SpillQueue},
};

/// A whole queue: all four traits. Cheap to share; it is implemented by itself.
pub trait Queue: Intake + Work + DeadLetters + Schedule {}

impl<Q: Intake + Work + DeadLetters + Schedule + ?Sized> Queue for Q {}
