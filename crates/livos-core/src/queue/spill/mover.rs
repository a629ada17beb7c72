//! Moves spilled jobs to Redis, and watches whether Redis was emptied.

use std::{sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    envelope::{self, MOVING},
    queue::{EPOCH, SpillQueue},
};
use crate::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    queue::{Enqueued, Intake, Lease, LeaseError, Nack, QueueError, Work},
    redis::RedisErrorKind,
    store::{Store, StoreError},
    time::{Clock, Timestamp},
};

/// How long a job waits that Redis refuses with an error about the job.
const SET_ASIDE: Duration = Duration::from_secs(60);
/// Jobs that are leased and settled in the file with one sync; few enough to be moved well within
/// [`MOVING`].
const BATCH: f64 = 16.0;

/// The result of moving one job.
enum Moved {
    /// It is in Redis, or nothing can be done with it.
    Gone,
    /// Not yet: what comes after it waits too.
    Not,
}

impl<C: Clock + Clone> SpillQueue<C> {
    pub(super) async fn tend(&self, drain: DrainSignal) {
        let mut news = self.spill.listen();
        let rate = self.config.rate.clamp(0.001, 1e6);
        let (gap, batch) = (Duration::from_secs_f64(1.0 / rate), rate.clamp(1.0, BATCH) as usize);
        // Another seed in each process, or they would move their jobs in step.
        let mut jitter = Backoff::new(BackoffConfig::default(), uuid::Uuid::new_v4().as_u64_pair().0);
        let mut checked: Option<tokio::time::Instant> = None;
        while !drain.is_draining() {
            if checked.is_none_or(|at| at.elapsed() >= self.config.check_every) {
                checked = Some(tokio::time::Instant::now());
                self.watch().await;
            }
            let pause = || gap / 2 + jitter.jitter_up_to(gap);
            let waiting = usize::try_from(self.spilled.load(Ordering::SeqCst)).unwrap_or(batch);
            if waiting > 0 && self.move_some(batch.min(waiting), pause, &drain).await {
                continue;
            }
            let pause = self.config.check_every;
            tokio::select! {
                () = drain.draining() => return,
                () = news.wait(pause), if waiting == 0 => {}
                // The bell rings for every job that is kept or given back. If none can be moved,
                // that is no reason to try again.
                () = tokio::time::sleep(pause), if waiting > 0 => {}
            }
        }
    }

    /// Checks whether Redis answers and is still the same.
    pub(super) async fn watch(&self) {
        let Ok(epoch) = self.gate.through(self.redis.epoch()).await else { return };
        if let Err(error) = self.compare(self.clock.now(), &epoch).await {
            tracing::error!(%error, "the mark of Redis could not be kept");
        }
        // It logs by itself; a failure shows at the next call.
        let _ = self.gate.through(self.gate.redis().memory()).await;
    }

    async fn compare(&self, now: Timestamp, epoch: &str) -> Result<(), StoreError> {
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

    /// Moves the oldest jobs of the file one after the other; false if there are none, or Redis
    /// does not take one.
    ///
    /// A job that was spilled while Redis was already back costs no pause: it leaves as fast as it
    /// came. The pauses are for jobs that piled up during the outage.
    async fn move_some(
        &self,
        batch: usize,
        mut pause: impl FnMut() -> Duration,
        drain: &DrainSignal,
    ) -> bool {
        let (mut settling, mut all) = (JoinSet::new(), true);
        let leases = self.take(batch).await;
        let any = !leases.is_empty();
        if !any {
            self.recount().await;
        }
        for lease in leases {
            // If one stays, all later ones stay, to keep the order.
            if !all || drain.is_draining() {
                all = false;
                self.settle(&mut settling, lease, Some(Nack::Release));
                continue;
            }
            if matches!(self.move_one(lease, &mut settling).await, Moved::Not) {
                all = false;
                continue;
            }
            let on_time =
                self.passing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |kept| kept.checked_sub(1));
            if on_time.is_err() {
                tokio::time::sleep(pause()).await;
            }
        }
        settling.join_all().await;
        any && all
    }

    /// Leases the oldest jobs, in order, with one sync.
    async fn take(&self, batch: usize) -> Vec<Lease> {
        let mut taking = JoinSet::new();
        let now = self.clock.now();
        for _ in 0..batch {
            let spill = self.spill.clone();
            taking.spawn(async move { spill.lease(now, &[], MOVING).await });
        }
        let mut leases = Vec::with_capacity(batch);
        while let Some(taken) = taking.join_next().await {
            match taken {
                Ok(Ok(lease)) => leases.extend(lease),
                Ok(Err(error)) => tracing::error!(%error, "the spill file can't be read"),
                Err(error) => tracing::error!(%error, "the spill file can't be read"),
            }
        }
        leases.sort_by_key(|lease| lease.id);
        leases
    }

    async fn move_one(&self, lease: Lease, settling: &mut JoinSet<()>) -> Moved {
        let now = self.clock.now();
        let Some(job) = envelope::open(&lease.payload, now) else {
            let reason = "it is not a spilled job".to_owned();
            self.settle(settling, lease, Some(Nack::Dead { reason }));
            return Moved::Gone;
        };
        let answer = self.gate.through(self.redis.enqueue(now, job)).await;
        self.note(&answer);
        let (how, moved) = match answer {
            Ok(Enqueued::Full { .. }) => (Some(Nack::Release), Moved::Not),
            Ok(_) => (None, Moved::Gone),
            Err(QueueError::Redis(error)) if error.kind() == RedisErrorKind::Broken => {
                // It may be the job's own fault, which must not hold up the others.
                tracing::error!(%error, "a spilled job could not be enqueued, and waits");
                (Some(Nack::Retry { after: SET_ASIDE, reason: error.to_string() }), Moved::Gone)
            }
            Err(QueueError::Redis(_)) => (Some(Nack::Release), Moved::Not),
            Err(error) => (Some(Nack::Dead { reason: error.to_string() }), Moved::Gone),
        };
        self.settle(settling, lease, how);
        moved
    }

    /// Acks, or gives back, together with the others of its batch.
    fn settle(&self, settling: &mut JoinSet<()>, lease: Lease, how: Option<Nack>) {
        let (spill, now) = (self.spill.clone(), self.clock.now());
        let spilled = std::sync::Arc::clone(&self.spilled);
        settling.spawn(async move {
            let gone = !matches!(how, Some(Nack::Release | Nack::Retry { .. } | Nack::Wait { .. }));
            let settled = match how {
                None => spill.ack(now, lease).await,
                Some(how) => spill.nack(now, lease, how).await,
            };
            match settled {
                Ok(()) if gone => {
                    spilled.fetch_sub(1, Ordering::SeqCst);
                }
                Ok(()) | Err(LeaseError::Lost) => {}
                Err(error) => tracing::error!(%error, "a spilled job is moved again later"),
            }
        });
    }
}
