//! How a worker works, and what a service answers it.

use std::time::Duration;

use crate::{backoff::BackoffConfig, queue::JobKind};

/// How a worker works.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The kinds of jobs it takes; empty for all.
    pub kinds: Vec<JobKind>,
    /// Jobs at one time. 4: a job mostly waits for somebody else.
    pub concurrency: usize,
    /// How long a job is hidden without a word from its worker, which extends the lease every third
    /// of it. 60 s: the job of a dead worker is taken over a minute later.
    pub visibility: Duration,
    /// The waits after failed attempts. Up to an hour each.
    pub backoff: BackoffConfig,
    /// The waits of a job during an outage, each of which ends in a probe by that job. 5 s at first
    /// and at most 5 min: answers come soon after the outage is over.
    pub outage: BackoffConfig,
    /// The longest sleep. 5 s: jobs that another process enqueued are found then at the latest.
    pub idle: Duration,
    /// How long running jobs may go on once the drain has begun. Then they are given back, and
    /// their attempt does not count. 20 s.
    pub drain_patience: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let backoff = BackoffConfig { longest: Duration::from_secs(3600), ..BackoffConfig::default() };
        let (first, longest) = (Duration::from_secs(5), Duration::from_secs(300));
        let outage = BackoffConfig { first, longest, ..BackoffConfig::default() };
        Self {
            kinds: Vec::new(),
            concurrency: 4,
            visibility: Duration::from_secs(60),
            backoff,
            outage,
            idle: Duration::from_secs(5),
            drain_patience: Duration::from_secs(20),
        }
    }
}

impl WorkerConfig {
    /// Takes jobs of this kind, and of the kinds that were named before.
    #[must_use]
    pub fn with_kind(mut self, kind: JobKind) -> Self {
        self.kinds.push(kind);
        self
    }

    /// Works on at most this many jobs at one time; at least one.
    #[must_use]
    pub fn with_concurrency(mut self, jobs: usize) -> Self {
        self.concurrency = jobs.max(1);
        self
    }

    /// Hides a job for this long at a time.
    #[must_use]
    pub fn with_visibility(mut self, visibility: Duration) -> Self {
        self.visibility = visibility;
        self
    }

    /// Waits this long after failed attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }

    /// Waits this long between two probes during an outage.
    #[must_use]
    pub fn with_outage(mut self, outage: BackoffConfig) -> Self {
        self.outage = outage;
        self
    }

    /// Sleeps for at most this long.
    #[must_use]
    pub fn with_idle(mut self, longest: Duration) -> Self {
        self.idle = longest;
        self
    }

    /// Lets running jobs go on for this long in a drain.
    #[must_use]
    pub fn with_drain_patience(mut self, patience: Duration) -> Self {
        self.drain_patience = patience;
        self
    }
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done and removed.
    Done,
    /// The attempt failed; the job comes again after the worker's backoff.
    Retry {
        /// Not sooner than this, if a provider asked for time.
        after: Option<Duration>,
        /// For the log, and for the dead letter after the last attempt.
        reason: String,
    },
    /// Something that every such job needs is missing: a provider is away, a key is refused, a
    /// budget is used up. The job comes again after the worker's `outage` backoff and the attempt
    /// does not count, for as long as it takes.
    Wait {
        /// Not sooner than this, if a provider asked for time.
        after: Option<Duration>,
        /// For the log.
        reason: String,
    },
    /// The job can't succeed and becomes a dead letter.
    Dead {
        /// For the log and the dead letter.
        reason: String,
    },
}
