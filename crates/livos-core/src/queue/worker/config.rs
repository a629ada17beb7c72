//! How a worker works, and what a service answers it.

use std::time::Duration;

use crate::{
    backoff::BackoffConfig,
    conversation::ReplyError,
    queue::{Job, JobKind},
};

/// Attempts at a job whose own message is refused. 3: a refusal is seldom a mistake of the
/// provider.
const REFUSALS: u32 = 3;
/// Waits of one job for the end of an outage; later failures count as attempts. 2,000: about five
/// days with the default backoff, after which an answer is of no use.
const WAITS: u32 = 2_000;
/// The longest time to the next probe, whatever a provider or a budget asks for. 1 h: an operator
/// who mends the cause does not wait for longer.
const PROBE: Duration = Duration::from_secs(3600);

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

impl Outcome {
    /// What becomes of a job whose reply failed: an outage is waited for, and a message that is
    /// refused for its own sake is dead after three attempts.
    pub fn of_failed_reply(job: &Job, error: &ReplyError, reason: String) -> Self {
        let after = error.retry_after().map(|after| after.min(PROBE));
        if !error.kind().is_outage() {
            return match job.attempt < REFUSALS.min(job.max_attempts) {
                true => Self::Retry { after, reason },
                false => Self::Dead { reason },
            };
        }
        match job.waits < WAITS {
            true => Self::Wait { after, reason },
            false => Self::Retry { after, reason },
        }
    }

    /// Whether the job ends with this, or comes again.
    pub fn is_final(&self, job: &Job) -> bool {
        match self {
            Self::Done | Self::Dead { .. } => true,
            Self::Retry { .. } => job.attempt >= job.max_attempts,
            Self::Wait { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{conversation::ReplyErrorKind, time::Timestamp};

    #[test]
    fn an_outage_is_waited_for_and_a_refused_message_has_three_attempts() {
        let job = |attempt, waits| Job {
            id: crate::queue::JobId(1),
            kind: JobKind::from_static("test"),
            payload: bytes::Bytes::new(),
            attempt,
            max_attempts: 10,
            waits,
            enqueued_at: Timestamp::from_unix_ms(0),
        };
        let outcome = |kind, attempt, waits| {
            let error = ReplyError::new(kind, "a test").with_retry_after(Some(Duration::from_secs(86_400)));
            Outcome::of_failed_reply(&job(attempt, waits), &error, "a test".into())
        };
        for kind in [
            ReplyErrorKind::Busy,
            ReplyErrorKind::Unavailable,
            ReplyErrorKind::Unauthorized,
            ReplyErrorKind::Limit,
        ] {
            assert_eq!(
                outcome(kind, 10, 1_999),
                Outcome::Wait { after: Some(PROBE), reason: "a test".into() },
                "{kind:?}"
            );
            assert!(matches!(outcome(kind, 1, 2_000), Outcome::Retry { .. }), "not forever: {kind:?}");
        }
        let refused = |attempt| outcome(ReplyErrorKind::Rejected, attempt, 0);
        assert!(matches!((refused(2), refused(3)), (Outcome::Retry { .. }, Outcome::Dead { .. })));
        assert!(refused(3).is_final(&job(3, 0)) && !refused(2).is_final(&job(2, 0)));
    }
}
