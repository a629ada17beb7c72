//! A queue in Redis that goes on taking jobs while Redis is away (P-20).
//!
//! What can't be enqueued there goes into a file of this process, which is as durable as what it stands in for. When Redis is back it is moved over in
//! order, at a bounded and jittered rate, so that the return of a server is not its next outage. Each job is moved under a dedupe key, so an enqueue
//! whose answer was lost does not become two jobs.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    DeadLetter, DedupeKey, Depth, EmbeddedQueue, Enqueued, JobId, JobKind, Lease, LeaseLost, Nack, NewJob,
    News, Queue, QueueConfig, QueueError, RedisQueue, Repeat, Token,
};
use crate::{
    backoff::{Backoff, BackoffConfig},
    breaker::BreakerState,
    drain::DrainSignal,
    embedded::Embedded,
    redis::{Gate, RedisErrorKind},
    store::{EmbeddedStore, Family, Lifetime, Store},
    time::{Clock, Timestamp},
};

/// How a [`SpillQueue`] behaves while Redis is away, and when it is back.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct SpillConfig {
    /// Jobs that the file takes; then enqueueing answers [`Enqueued::Full`]. 10,000: hours of a small server's webhooks.
    pub most: u64,
    /// Jobs moved in a second when Redis is back, each gap jittered by half. 100: a few percent of what a small server does.
    pub rate: f64,
    /// How often Redis is asked whether it is the one that it was. 5 s.
    pub check_every: Duration,
}

impl Default for SpillConfig {
    fn default() -> Self {
        Self { most: 10_000, rate: 100.0, check_every: Duration::from_secs(5) }
    }
}

/// How the queue stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Redis answers, and nothing waits in the file.
    pub ready: bool,
    /// Jobs that wait in the file.
    pub spilled: u64,
    /// How often Redis was found empty since this process began: jobs were lost there.
    pub emptied: u64,
    /// What failed last; none while all is well.
    pub reason: Option<String>,
}

/// A [`Queue`] in Redis, with a file for when it is away.
#[derive(Debug)]
pub struct SpillQueue<C> {
    redis: RedisQueue,
    spill: EmbeddedQueue,
    marks: EmbeddedStore,
    gate: Gate,
    clock: C,
    config: SpillConfig,
    /// Jobs in the file, so that none overtakes them.
    spilled: AtomicU64,
    emptied: AtomicU64,
}

/// The epoch of the Redis that this file belongs to.
pub(super) const EPOCH: Family = Family::new(
    "queue",
    "epoch",
    Lifetime::Forever { reason: "an emptied Redis must be noticed after any time" },
    "the mark of the Redis that a spill file belongs to",
);

/// How long a job that had no dedupe key of its own is remembered once it was tried. A day: longer than any outage that an operator sleeps through.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// How long a move may take before another one tries.
const MOVING: Duration = Duration::from_secs(30);

/// How long a job waits that Redis answers with an error of its own.
const SET_ASIDE: Duration = Duration::from_secs(60);

/// What stands in the payload of a spilled job before its own.
#[derive(Serialize, Deserialize)]
struct Envelope {
    kind: JobKind,
    key: String,
    forget_at: Timestamp,
    not_before: Option<Timestamp>,
    priority: u8,
    max_attempts: u32,
}

impl<C: Clock + Clone> SpillQueue<C> {
    /// A queue over `redis`, which is behind `gate`, with `file` for this process alone. Jobs of an earlier run that are still in the file are moved when
    /// [`SpillQueue::run`] begins.
    pub async fn new(
        redis: RedisQueue,
        gate: Gate,
        file: Embedded,
        clock: C,
        config: SpillConfig,
    ) -> Result<Self, QueueError> {
        let bounds = QueueConfig { refuse_at: config.most, alert_at: config.most, ..QueueConfig::default() };
        let spill = EmbeddedQueue::new(file.clone(), bounds);
        // What an earlier run was moving when it ended goes first again.
        let later = clock.now().plus(MOVING);
        if let Some(first) = spill.lease(later, &[], MOVING).await? {
            let _ = spill.nack(later, first.token, Nack::Release).await?;
        }
        let spilled = spill.depth().await?.total();
        Ok(Self {
            redis,
            spill,
            marks: EmbeddedStore::new(file),
            gate,
            clock,
            config,
            spilled: spilled.into(),
            emptied: 0.into(),
        })
    }

    /// How it stands, for `/readyz`.
    pub fn health(&self) -> Health {
        let spilled = self.spilled.load(Ordering::SeqCst);
        let (closed, reason) = (self.gate.state() == BreakerState::Closed, self.gate.trouble());
        let ready = closed && spilled == 0 && reason.is_none();
        Health { ready, spilled, emptied: self.emptied.load(Ordering::SeqCst), reason }
    }

    /// Watches Redis, hears of what other processes enqueue, and moves what waits in the file, until the drain. What is left then stays in the file for the
    /// next run.
    pub async fn run(&self, drain: DrainSignal) {
        tokio::join!(self.redis.hear(drain.clone()), self.tend(drain));
    }

    async fn tend(&self, drain: DrainSignal) {
        let mut news = self.spill.listen();
        let gap = Duration::from_secs_f64(1.0 / self.config.rate.clamp(0.001, 1e6));
        // Differently for each process, or they would move their jobs in step.
        let mut jitter = Backoff::new(BackoffConfig::default(), uuid::Uuid::new_v4().as_u64_pair().0);
        let mut checked: Option<tokio::time::Instant> = None;
        while !drain.is_draining() {
            let due = checked.is_none_or(|at| at.elapsed() >= self.config.check_every);
            if due {
                checked = Some(tokio::time::Instant::now());
                self.watch().await;
            }
            let moved = self.spilled.load(Ordering::SeqCst) > 0 && self.move_one().await;
            let pause = match moved {
                true => gap / 2 + jitter.jitter_up_to(gap),
                false => self.config.check_every,
            };
            tokio::select! {
                () = drain.draining() => return,
                () = tokio::time::sleep(pause), if moved => {}
                () = news.wait(pause), if !moved => {}
            }
        }
    }

    /// Asks Redis whether it is there, and whether it is still the one that it was.
    async fn watch(&self) {
        let now = self.clock.now();
        let Ok(epoch) = self.gate.through(self.redis.epoch()).await else { return };
        if let Err(error) = self.compare(now, &epoch).await {
            tracing::error!(%error, "the mark of Redis could not be kept");
        }
        // It warns by itself; a failure is the next call's to tell.
        let _ = self.gate.through(self.gate.redis().memory()).await;
    }

    async fn compare(&self, now: Timestamp, epoch: &str) -> Result<(), crate::store::StoreError> {
        let Ok(key) = EPOCH.key("redis") else { return Ok(()) };
        let known = self.marks.get(now, &key).await?;
        if known.as_ref().is_some_and(|known| known.value == epoch.as_bytes()) {
            return Ok(());
        }
        if known.is_some() {
            self.emptied.fetch_add(1, Ordering::SeqCst);
            metrics::counter!("livos_redis_emptied_total").increment(1);
            tracing::error!(
                "this Redis is not the one that it was: it was emptied, or restarted without its data. Jobs that were only there are lost; \
                 what waits in the spill file is enqueued again. See the table of durability in livos_core::redis"
            );
        }
        self.marks.put(now, &key, Bytes::copy_from_slice(epoch.as_bytes())).await?;
        Ok(())
    }

    /// Moves the oldest job of the file; false where there is none, or Redis does not take it.
    async fn move_one(&self) -> bool {
        let now = self.clock.now();
        let lease = match self.spill.lease(now, &[], MOVING).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return false,
            Err(error) => {
                tracing::error!(%error, "the spill file can't be read");
                return false;
            }
        };
        let Some(job) = open(&lease.payload, now) else {
            let reason = "it is not a spilled job".to_owned();
            let _ = self.spill.nack(now, lease.token, Nack::Dead { reason }).await;
            return true;
        };
        let (how, moved) = match self.gate.through(self.redis.enqueue(now, job)).await {
            Ok(Enqueued::Full { .. }) => (Nack::Release, false),
            Ok(_) => {
                if matches!(self.spill.ack(now, lease.token).await, Ok(Ok(()))) {
                    self.spilled.fetch_sub(1, Ordering::SeqCst);
                }
                return true;
            }
            Err(QueueError::Redis(error)) if error.kind() == RedisErrorKind::Broken => {
                // It may be the job's own fault, which must not hold up the others.
                tracing::error!(%error, "a spilled job could not be enqueued, and waits");
                (Nack::Retry { after: SET_ASIDE, reason: error.to_string() }, true)
            }
            Err(QueueError::Redis(_)) => (Nack::Release, false),
            Err(error) => (Nack::Dead { reason: error.to_string() }, true),
        };
        let dead = matches!(how, Nack::Dead { .. });
        if let Ok(Ok(())) = self.spill.nack(now, lease.token, how).await
            && dead
        {
            self.spilled.fetch_sub(1, Ordering::SeqCst);
        }
        moved
    }

    async fn keep(&self, now: Timestamp, job: &NewJob) -> Result<Enqueued, QueueError> {
        // Counted before it can be moved, and so never below zero.
        self.spilled.fetch_add(1, Ordering::SeqCst);
        let kept = match seal(job, now) {
            Ok(sealed) => self.spill.enqueue(now, sealed).await,
            Err(error) => Err(error),
        };
        if matches!(kept, Ok(Enqueued::Enqueued(_))) {
            metrics::counter!("livos_queue_spilled_total", "kind" => job.kind.to_string()).increment(1);
        } else {
            self.spilled.fetch_sub(1, Ordering::SeqCst);
        }
        let kept = kept?;
        Ok(match kept {
            Enqueued::Enqueued(_) => Enqueued::Spilled,
            other => other,
        })
    }
}

/// The job with a key under which it can be tried again without becoming two.
fn keyed(mut job: NewJob) -> NewJob {
    job.dedupe.get_or_insert_with(|| {
        let key = format!("spill/{}", uuid::Uuid::new_v4().simple());
        DedupeKey { key, retention: REMEMBERED }
    });
    job
}

/// A job of the file that holds a job of Redis.
fn seal(job: &NewJob, now: Timestamp) -> Result<NewJob, QueueError> {
    let (key, retention) = job
        .dedupe
        .as_ref()
        .map_or((String::new(), REMEMBERED), |dedupe| (dedupe.key.clone(), dedupe.retention));
    let envelope = Envelope {
        kind: job.kind.clone(),
        key: key.clone(),
        forget_at: now.plus(retention),
        not_before: job.not_before,
        priority: job.priority,
        max_attempts: job.max_attempts,
    };
    let head = serde_json::to_vec(&envelope).unwrap_or_default();
    let length = u32::try_from(head.len()).unwrap_or(0);
    let payload = [length.to_be_bytes().as_slice(), &head, &job.payload].concat();
    let sealed = NewJob::new("spill".try_into()?, payload).with_max_attempts(u32::MAX);
    let key = format!("{}/{key}", job.kind);
    // A key that is too long with its kind in front is left to the other end.
    Ok(if key.len() <= 512 { sealed.deduped_by(key, retention) } else { sealed })
}

fn open(payload: &[u8], now: Timestamp) -> Option<NewJob> {
    let (length, rest) = payload.split_first_chunk()?;
    let (head, payload) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    let envelope: Envelope = serde_json::from_slice(head).ok()?;
    let mut job = NewJob::new(envelope.kind, Bytes::copy_from_slice(payload))
        .with_priority(envelope.priority)
        .with_max_attempts(envelope.max_attempts)
        // Remembered for as long as it would have been, and long enough for this move to be tried again.
        .deduped_by(envelope.key, envelope.forget_at.since(now).max(2 * MOVING));
    job.not_before = envelope.not_before;
    Some(job)
}

#[async_trait]
impl<C: Clock + Clone> Queue for SpillQueue<C> {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        let job = keyed(job);
        // Nothing overtakes what waits already.
        if self.spilled.load(Ordering::SeqCst) > 0 {
            return self.keep(now, &job).await;
        }
        match self.gate.through(self.redis.enqueue(now, job.clone())).await {
            // Whatever is wrong with the server, the file is there to take it.
            Err(QueueError::Redis(error)) => {
                tracing::debug!(%error, "a job goes into the spill file");
                self.keep(now, &job).await
            }
            answered => answered,
        }
    }

    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        self.gate.through(self.redis.lease(now, kinds, visibility)).await
    }

    async fn extend(
        &self,
        now: Timestamp,
        token: Token,
        visibility: Duration,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        self.gate.through(self.redis.extend(now, token, visibility)).await
    }

    /// Tried again when Redis blinks: an ack that was carried out although its answer was lost then finds its lease gone, which [`LeaseLost`] says as well.
    async fn ack(&self, now: Timestamp, token: Token) -> Result<Result<(), LeaseLost>, QueueError> {
        self.gate.critical(|| self.redis.ack(now, token)).await
    }

    async fn nack(
        &self,
        now: Timestamp,
        token: Token,
        how: Nack,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        self.gate.critical(|| self.redis.nack(now, token, how.clone())).await
    }

    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.gate.through(self.redis.dead(after, limit)).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        self.gate.through(self.redis.replay(now, id)).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        self.gate.through(self.redis.discard(id)).await
    }

    /// Of Redis alone; [`SpillQueue::health`] tells what waits in the file.
    async fn depth(&self) -> Result<Depth, QueueError> {
        self.gate.through(self.redis.depth()).await
    }

    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        self.gate.through(self.redis.repeat(now, repeat)).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        self.gate.through(self.redis.unrepeat(name)).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.gate.through(self.redis.repeats()).await
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
