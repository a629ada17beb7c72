//! What is enqueued, and what came of it.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// The kind of a job, by which it is routed: 1 to 64 of `a-z`, `0-9`, `.`, `-` and `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobKind(Cow<'static, str>);

impl JobKind {
    /// A name that is known to the program. An invalid one does not compile in a constant, and
    /// panics elsewhere.
    pub const fn from_static(name: &'static str) -> Self {
        assert!(is_kind(name.as_bytes()), "a kind of job is named by 1 to 64 of a-z, 0-9, '.', '-' and '_'");
        Self(Cow::Borrowed(name))
    }

    /// The name, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_kind(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        if !matches!(name[at], b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_') {
            return false;
        }
        at += 1;
    }
    at > 0 && at <= 64
}

impl TryFrom<String> for JobKind {
    type Error = InvalidJob;

    fn try_from(name: String) -> Result<Self, InvalidJob> {
        if is_kind(name.as_bytes()) { Ok(Self(name.into())) } else { Err(InvalidJob::Kind) }
    }
}

impl TryFrom<&str> for JobKind {
    type Error = InvalidJob;

    fn try_from(name: &str) -> Result<Self, InvalidJob> {
        name.to_owned().try_into()
    }
}

impl From<JobKind> for String {
    fn from(kind: JobKind) -> Self {
        kind.0.into_owned()
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of a job in its queue. Numbers grow, and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What makes two jobs of one kind duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DedupeKey {
    /// For instance the provider's delivery id: 1 to 512 bytes without control characters.
    pub key: String,
    /// How long the key is remembered, counted from the enqueue, whatever becomes of the job.
    /// Longer than the provider's retry window.
    pub retention: Duration,
}

/// A job to be enqueued.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewJob {
    /// By which it is routed to a worker.
    pub kind: JobKind,
    /// What is to be done; at most [`NewJob::MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
    /// Its dedupe key; `None` if it is never a duplicate.
    pub dedupe: Option<DedupeKey>,
    /// The earliest time of its first lease; `None` for at once.
    pub not_before: Option<Timestamp>,
    /// Higher goes first; among equals, the older one. 100 by default, with room on both sides.
    pub priority: u8,
    /// How often it may be leased before it becomes a dead letter; at least 1. 10 by default: some
    /// hours with the backoff of a worker.
    pub max_attempts: u32,
}

impl NewJob {
    /// The longest payload, in bytes. 1 MiB: what is larger belongs in a file.
    pub const MAX_PAYLOAD: usize = 1 << 20;

    /// A job that is ready at once and never a duplicate.
    pub fn new(kind: JobKind, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { kind, payload, dedupe: None, not_before: None, priority: 100, max_attempts: 10 }
    }

    /// A duplicate of every job of this kind with this key, for `retention` after that was
    /// enqueued.
    #[must_use]
    pub fn deduped_by(mut self, key: impl Into<String>, retention: Duration) -> Self {
        self.dedupe = Some(DedupeKey { key: key.into(), retention });
        self
    }

    /// Delays the first lease until `time`.
    #[must_use]
    pub fn not_before(mut self, time: Timestamp) -> Self {
        self.not_before = Some(time);
        self
    }

    /// Higher goes first. 100 is the default.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// May be leased this often; 0 counts as 1.
    #[must_use]
    pub fn with_max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Checks the bounds that all backends share.
    pub fn check(&self) -> Result<(), InvalidJob> {
        if self.payload.len() > Self::MAX_PAYLOAD {
            return Err(InvalidJob::TooLarge(self.payload.len()));
        }
        match &self.dedupe {
            Some(dedupe) if !is_key(&dedupe.key) => Err(InvalidJob::DedupeKey),
            _ => Ok(()),
        }
    }
}

/// The most steps of one advance, and the longest position in bytes.
pub(super) const MAX_STEPS: usize = 1000;
pub(super) const MAX_POSITION: usize = 64 << 10;

/// Whether a text may be a key: it is part of rows, between separators.
pub(super) fn is_key(text: &str) -> bool {
    !text.is_empty() && text.len() <= 512 && !text.chars().any(char::is_control)
}

/// A job that no queue takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidJob {
    /// The name of its kind is not allowed.
    #[error("a kind of job is named by 1 to 64 of a-z, 0-9, '.', '-' and '_'")]
    Kind,
    /// Its payload is too long.
    #[error("a payload of {0} bytes is longer than the {max} that a queue takes", max = NewJob::MAX_PAYLOAD)]
    TooLarge(usize),
    /// Its dedupe key is empty, too long, or has control characters.
    #[error("a dedupe key has 1 to 512 bytes and no control characters")]
    DedupeKey,
    /// The name of a cursor is invalid, it has too many steps, or a position is too long.
    #[error(
        "a cursor has a name of 1 to 512 bytes without control characters, at most {} steps at one time, and positions of at most {} bytes",
        MAX_STEPS,
        MAX_POSITION
    )]
    Cursor,
    /// The schedule has no next time, or can't be read.
    #[error(
        "a schedule needs an interval of at least a second, or a cron expression and a time zone that are known"
    )]
    Schedule,
}

/// The answer of [`Intake::enqueue`](super::Intake::enqueue). What it says is durable when it is
/// answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    /// It is in the queue.
    Enqueued(JobId),
    /// It is durable, but not yet in the server where the workers look: that is away, and the job
    /// is moved there when it is back.
    Spilled,
    /// A job with the same dedupe key was enqueued before.
    Duplicate(JobId),
    /// The queue is full. Nothing was remembered: the same job may be enqueued later.
    Full {
        /// Jobs in the queue.
        depth: u64,
    },
}

/// How many jobs there are, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Ready to be leased.
    pub ready: u64,
    /// Delayed until their time.
    pub waiting: u64,
    /// Leased to a worker.
    pub leased: u64,
    /// Dead letters, which do not count against the bound.
    pub dead: u64,
}

impl Depth {
    /// The jobs that count against the bound of the queue.
    pub fn total(&self) -> u64 {
        self.ready + self.waiting + self.leased
    }
}
