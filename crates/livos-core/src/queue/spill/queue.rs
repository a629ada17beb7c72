//! The queue over Redis and the file.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::envelope;
use crate::{
    bell::News,
    breaker::BreakerState,
    drain::DrainSignal,
    embedded::{Embedded, StorageError},
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, EmbeddedQueue, Enqueued, Intake, JobId,
        JobKind, Lease, LeaseError, Nack, NewJob, QueueConfig, QueueError, RedisQueue, Repeat, Schedule,
        Work,
    },
    redis::Gate,
    store::{EmbeddedStore, Family, Lifetime},
    time::{Clock, Timestamp},
};

/// How a [`SpillQueue`] behaves while Redis is away, and when it is back.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SpillConfig {
    /// The most jobs in the file; then enqueueing answers [`Enqueued::Full`]. 10,000: hours of a
    /// small server's webhooks.
    pub most: u64,
    /// Jobs moved per second when Redis is back, each gap jittered by half. 100: a few percent of
    /// what a small server does.
    pub rate: f64,
    /// How often Redis is checked for having been emptied. 5 s.
    pub check_every: Duration,
}

impl Default for SpillConfig {
    fn default() -> Self {
        Self { most: 10_000, rate: 100.0, check_every: Duration::from_secs(5) }
    }
}

impl SpillConfig {
    /// The file takes at most this many jobs.
    #[must_use]
    pub fn with_most(mut self, jobs: u64) -> Self {
        self.most = jobs;
        self
    }

    /// Moves this many jobs a second when Redis is back.
    #[must_use]
    pub fn with_rate(mut self, jobs_a_second: f64) -> Self {
        self.rate = jobs_a_second;
        self
    }

    /// Asks Redis this often whether it is still the same.
    #[must_use]
    pub fn with_check_every(mut self, interval: Duration) -> Self {
        self.check_every = interval;
        self
    }
}

/// The state of a [`SpillQueue`], for `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Redis answers, and nothing waits in the file.
    pub ready: bool,
    /// Jobs that wait in the file.
    pub spilled: u64,
    /// How often Redis was found emptied since this process began; jobs were lost there.
    pub emptied: u64,
    /// The last failure; `None` while all is well.
    pub reason: Option<String>,
}

/// A [`Queue`](crate::queue::Queue) in Redis, with a file for when it is away.
#[derive(Debug)]
pub struct SpillQueue<C> {
    pub(super) redis: RedisQueue,
    pub(super) spill: EmbeddedQueue,
    pub(super) marks: EmbeddedStore,
    pub(super) gate: Gate,
    pub(super) clock: C,
    pub(super) config: SpillConfig,
    /// Jobs in the file. While there are any, new ones go there too, so that none overtakes.
    pub(super) spilled: Arc<AtomicU64>,
    /// Held shared while a job is put into the file, and exclusively while they are counted.
    pub(super) counting: Arc<RwLock<()>>,
    /// How many of these were spilled while Redis was already back: they are moved without a pause.
    pub(super) passing: AtomicU64,
    /// Why Redis refused the last job it was offered; `None` if it took it.
    pub(super) refusal: Mutex<Option<String>>,
    pub(super) emptied: AtomicU64,
}

/// The epoch of the Redis that this file belongs to.
pub(super) const EPOCH: Family = Family::new(
    "queue",
    "epoch",
    Lifetime::Forever { reason: "an emptied Redis must be noticed after any time" },
    "the mark of the Redis that a spill file belongs to",
);

/// What this queue keeps in a store.
pub(crate) const FAMILIES: [Family; 1] = [EPOCH];

impl<C: Clock + Clone> SpillQueue<C> {
    /// A queue over `redis`, which is behind `gate`, with `file` for this process alone. Jobs that
    /// an earlier run left in the file are moved when [`SpillQueue::run`] begins. Redis is asked
    /// once for its mark; if it is away, that is known from here on.
    pub async fn new(
        redis: RedisQueue,
        gate: Gate,
        file: Embedded,
        clock: C,
        config: SpillConfig,
    ) -> Result<Self, QueueError> {
        let bounds = QueueConfig { refuse_at: config.most, alert_at: config.most, ..QueueConfig::default() };
        let spill = EmbeddedQueue::new(file.clone(), bounds);
        // A job that an earlier run was moving goes first again, even if the clock was set back
        // since.
        let _ = spill.tick(clock.now()).await?;
        let later = clock.now().plus(envelope::MOVING);
        if let Some(first) = spill.lease(later, &[], envelope::MOVING).await? {
            match spill.nack(later, first, Nack::Release).await {
                Ok(()) | Err(LeaseError::Lost) => {}
                Err(LeaseError::Failed { source, .. }) => return Err(source),
            }
        }
        let spilled = spill.depth().await?.total();
        let queue = Self {
            redis,
            spill,
            marks: EmbeddedStore::new(file),
            gate,
            clock,
            config,
            spilled: Arc::new(spilled.into()),
            counting: Arc::default(),
            passing: 0.into(),
            refusal: Mutex::default(),
            emptied: 0.into(),
        };
        // A server that is emptied before its mark was read would not be noticed.
        queue.watch().await;
        Ok(queue)
    }

    /// The state, for `/readyz`.
    pub fn health(&self) -> Health {
        let spilled = self.spilled.load(Ordering::SeqCst);
        let closed = self.gate.state() == BreakerState::Closed;
        let refusal = || self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let reason = self.gate.trouble().or_else(refusal);
        let ready = closed && spilled == 0 && reason.is_none();
        Health { ready, spilled, emptied: self.emptied.load(Ordering::SeqCst), reason }
    }

    /// Watches Redis, hears of jobs of other processes, and moves spilled jobs, until the drain.
    /// Jobs that are left stay in the file for the next run.
    pub async fn run(&self, drain: DrainSignal) {
        tokio::join!(self.redis.hear(drain.clone()), self.tend(drain));
    }

    /// Notes whether Redis took a job that it was offered.
    pub(super) fn note(&self, answer: &Result<Enqueued, QueueError>) {
        let refusal = match answer {
            Ok(_) => None,
            Err(error) => match error {
                QueueError::Redis(error) => Some(error.to_string()),
                _ => return,
            },
        };
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }

    /// Puts a job into the file, in a task of its own so that a cancelled caller does not leave the
    /// count wrong.
    async fn keep(&self, now: Timestamp, job: &NewJob) -> Result<Enqueued, QueueError> {
        let sealed = envelope::seal(job, now)?;
        let (spill, spilled, counting) =
            (self.spill.clone(), Arc::clone(&self.spilled), Arc::clone(&self.counting));
        let keeping = tokio::spawn(async move {
            let _counting = counting.read().await;
            // Counted before it can be moved, and so never below zero.
            spilled.fetch_add(1, Ordering::SeqCst);
            let kept = spill.enqueue_any(now, sealed).await;
            if !matches!(kept, Ok(Enqueued::Enqueued(_))) {
                spilled.fetch_sub(1, Ordering::SeqCst);
            }
            kept
        });
        let kept = keeping.await.unwrap_or(Err(StorageError::Closed.into()))?;
        if !matches!(kept, Enqueued::Enqueued(_)) {
            return Ok(kept);
        }
        if self.gate.state() == BreakerState::Closed {
            self.passing.fetch_add(1, Ordering::SeqCst);
        }
        metrics::counter!("livos_queue_spilled_total", "kind" => job.kind.to_string()).increment(1);
        Ok(Enqueued::Spilled)
    }

    /// Counts the jobs in the file again, because it had none of those that should be there.
    pub(super) async fn recount(&self) {
        let _counting = self.counting.write().await;
        match self.spill.depth().await {
            Ok(depth) => self.spilled.store(depth.total(), Ordering::SeqCst),
            Err(error) => tracing::error!(%error, "the spill file can't be read"),
        }
    }
}

#[async_trait]
impl<C: Clock + Clone> Intake for SpillQueue<C> {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        let job = envelope::keyed(job);
        // No job overtakes the spilled ones.
        if self.spilled.load(Ordering::SeqCst) > 0 {
            return self.keep(now, &job).await;
        }
        let answer = self.gate.through(self.redis.enqueue(now, job.clone())).await;
        self.note(&answer);
        match answer {
            // Whatever is wrong with the server, the file is there to take it.
            Err(QueueError::Redis(error)) => {
                tracing::debug!(%error, "a job goes into the spill file");
                self.keep(now, &job).await
            }
            answered => answered,
        }
    }

    /// Only in Redis: a channel that is polled keeps what was not read, so nothing needs to be
    /// spilled, and a cursor in two places would diverge.
    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        self.gate.through(self.redis.advance(now, advance)).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        self.gate.through(self.redis.cursor(name)).await
    }

    /// The jobs in Redis alone; [`SpillQueue::health`] counts those in the file.
    async fn depth(&self) -> Result<Depth, QueueError> {
        self.gate.through(self.redis.depth()).await
    }
}

#[async_trait]
impl<C: Clock + Clone> Work for SpillQueue<C> {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        self.gate.through(self.redis.lease(now, kinds, visibility)).await
    }

    async fn extend(&self, now: Timestamp, lease: Lease, visibility: Duration) -> Result<Lease, LeaseError> {
        let held = self.gate.through(self.redis.extend_held(now, &lease, visibility)).await;
        lease.checked(held)
    }

    /// Tried again when Redis blinks: if the ack was carried out and its answer lost, the next try
    /// finds the lease gone, and that is told as [`LeaseError::Lost`].
    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        let held = self.gate.critical(|| self.redis.ack_held(now, &lease)).await;
        lease.checked(held).map(drop)
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        let held = self.gate.critical(|| self.redis.nack_held(now, &lease, &how)).await;
        lease.checked(held).map(drop)
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        self.gate.through(self.redis.tick(now)).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        self.gate.through(self.redis.next_due(now)).await
    }

    fn listen(&self) -> News {
        self.redis.listen()
    }
}

#[async_trait]
impl<C: Clock + Clone> DeadLetters for SpillQueue<C> {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.gate.through(self.redis.dead(after, limit)).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        self.gate.through(self.redis.replay(now, id)).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        self.gate.through(self.redis.discard(id)).await
    }
}

#[async_trait]
impl<C: Clock + Clone> Schedule for SpillQueue<C> {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        self.gate.through(self.redis.repeat(now, repeat)).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        self.gate.through(self.redis.unrepeat(name)).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.gate.through(self.redis.repeats()).await
    }
}
