//! The queue in a Redis server, for several processes.
//!
//! Every method is one script, so it happens as a whole or not at all. The scripts keep the same
//! indexes as the embedded file does, and pass the same contract and the same model.

mod keys;
mod row;
mod scripts;

use std::time::Duration;

use async_trait::async_trait;
use futures_core::Stream;
use redis::{Script, ScriptInvocation};

use self::{
    row::{LeaseRow, broken, duration, enqueued, hand_over, milliseconds, parse},
    scripts::{
        ACK, ADVANCE, CURSOR, DEAD, DEPTH, DISCARD, DUE, ENQUEUE, EXTEND, FIRE, LEASE, NACK, REPLAY, SWEEP,
    },
};
use super::{
    Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, Enqueued, Intake, InvalidJob, JobId, JobKind,
    Lease, LeaseError, Nack, NewJob, QueueConfig, QueueError, Repeat, Schedule, Work, config::bounded,
};
use crate::{
    bell::{Bell, News},
    drain::DrainSignal,
    redis::{Redis, RedisError},
    time::Timestamp,
};

/// A [`Queue`](super::Queue) in a [`Redis`] server. Processes with the same name share it, and must
/// have the same configuration.
#[derive(Debug, Clone)]
pub struct RedisQueue {
    redis: Redis,
    config: QueueConfig,
    keys: Vec<String>,
    epoch: String,
    policies: String,
    bell: Bell,
}

/// After this much silence the bell is listened to on a new connection. A minute: workers look
/// every few seconds anyway.
const SILENCE: Duration = Duration::from_secs(60);
impl RedisQueue {
    /// The queue of this name: 1 to 64 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub fn new(redis: Redis, name: &str, config: QueueConfig) -> Result<Self, InvalidJob> {
        let name = JobKind::try_from(name)?;
        let key = |part: &str| keys::key(name.as_str(), part);
        let (keys, epoch) = (keys::PARTS.iter().map(|(part, ..)| key(part)).collect(), key(keys::EPOCH.0));
        let policies = config.kinds.iter().map(|(kind, policy)| {
            let rate = policy.rate.map(|rate| (rate.leases, rate.per.as_micros() as f64));
            let policy = serde_json::json!({ "c": policy.concurrency, "n": rate.map(|rate| rate.0), "t": rate.map(|rate| rate.1) });
            // Lua takes a null for something.
            let policy = policy.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
            (kind.to_string(), policy.map(|(name, value)| (name.clone(), value.clone())).collect())
        });
        let policies = serde_json::Value::Object(policies.collect()).to_string();
        Ok(Self { redis, config, keys, epoch, policies, bell: Bell::new() })
    }

    /// The keys of a queue as a table for the documentation.
    pub fn key_table() -> String {
        keys::table()
    }

    /// Hears of jobs that other processes make ready, on a connection of its own, until the drain.
    /// Without it, their jobs are found when a worker looks.
    pub async fn hear(&self, drain: DrainSignal) {
        let heard = async {
            loop {
                if let Err(error) = self.hear_one_connection().await {
                    tracing::debug!(%error, "the bell of the queue is not heard");
                }
                // Connecting has its own backoff; this wait is for a server that accepts
                // connections and closes them at once.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        tokio::select! {
            () = heard => {}
            () = drain.draining() => {}
        }
    }

    async fn hear_one_connection(&self) -> Result<(), RedisError> {
        let mut listener = self.redis.subscriber().await?;
        self.redis.within(listener.subscribe(&self.keys[keys::BELL])).await?;
        // A job may have become ready before it listened.
        self.bell.ring();
        let mut messages = std::pin::pin!(listener.into_on_message());
        loop {
            let message = std::future::poll_fn(|cx| messages.as_mut().poll_next(cx));
            // A connection can break without an error.
            match tokio::time::timeout(SILENCE, message).await {
                Ok(Some(_)) => self.bell.ring(),
                _ => return Ok(()),
            }
        }
    }

    /// A mark that is written to the server at first use, and is gone if the server was emptied.
    pub async fn epoch(&self) -> Result<String, RedisError> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let _: Option<String> =
            self.redis.query(redis::cmd("SET").arg(&self.epoch).arg(mark).arg("NX")).await?;
        self.redis.query(redis::cmd("GET").arg(&self.epoch)).await
    }

    /// The server that holds the queue.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    fn script<'a>(&self, script: &'a Script, now: Timestamp) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&self.keys).arg(milliseconds(now));
        invocation
    }

    async fn settle(&self, invocation: &ScriptInvocation<'_>) -> Result<bool, QueueError> {
        let held: u8 = self.redis.run(invocation).await?;
        self.bell.ring();
        Ok(held == 1)
    }

    /// False if the lease is not held any more. This and the two below may be called again for the
    /// same lease when the server blinks.
    pub(super) async fn extend_held(
        &self,
        now: Timestamp,
        lease: &Lease,
        visibility: Duration,
    ) -> Result<bool, QueueError> {
        let mut extend = self.script(&EXTEND, now);
        self.settle(extend.arg(lease.id.0).arg(lease.fence()).arg(duration(visibility))).await
    }

    pub(super) async fn ack_held(&self, now: Timestamp, lease: &Lease) -> Result<bool, QueueError> {
        let mut ack = self.script(&ACK, now);
        self.settle(ack.arg(lease.id.0).arg(lease.fence())).await
    }

    pub(super) async fn nack_held(
        &self,
        now: Timestamp,
        lease: &Lease,
        how: &Nack,
    ) -> Result<bool, QueueError> {
        let (how, after, reason) = match how {
            Nack::Release => ("release", 0, ""),
            Nack::Wait { after } => ("wait", duration(*after), ""),
            Nack::Retry { after, reason } => ("retry", duration(*after), bounded(reason)),
            Nack::Dead { reason } => ("dead", 0, bounded(reason)),
        };
        let mut nack = self.script(&NACK, now);
        self.settle(nack.arg(lease.id.0).arg(lease.fence()).arg(how).arg(after).arg(reason)).await
    }

    async fn stored_repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        let rows: Vec<String> = self.redis.query(redis::cmd("HVALS").arg(&self.keys[keys::REPEATS])).await?;
        let mut repeats: Vec<_> = rows.iter().map(|row| parse(row)).collect::<Result<_, _>>()?;
        repeats.sort_by(|(one, _): &(Repeat, _), (other, _)| one.name.cmp(&other.name));
        Ok(repeats)
    }
}

#[async_trait]
impl Intake for RedisQueue {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        let mut enqueue = self.script(&ENQUEUE, now);
        hand_over(&mut enqueue, now, &job);
        enqueue.arg(self.config.refuse_at);
        let (what, number, depth): (String, u64, u64) = self.redis.run(&enqueue).await?;
        let enqueued = enqueued(&what, number);
        self.config.tell(enqueued, &job.kind, depth);
        if matches!(enqueued, Enqueued::Enqueued(_)) {
            self.bell.ring();
        }
        Ok(enqueued)
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        advance.check()?;
        let mut script = self.script(&ADVANCE, now);
        script.arg(&advance.cursor).arg(advance.fence).arg(self.config.refuse_at);
        for step in &advance.steps {
            script.arg(step.position.as_ref());
            match &step.job {
                Some(job) => hand_over(&mut script, now, job),
                None => (0..7).for_each(|_| {
                    script.arg("");
                }),
            }
        }
        let (what, number, answers): (String, u64, Vec<(String, u64, u64)>) = self.redis.run(&script).await?;
        if what == "stale" {
            return Ok(Advanced::Stale { fence: number });
        }
        let kinds = advance.steps.iter().filter_map(|step| step.job.as_ref()).map(|job| job.kind.clone());
        let answers = answers.iter().map(|(what, number, depth)| (enqueued(what, *number), *depth));
        let jobs: Vec<_> =
            answers.zip(kinds).map(|((enqueued, depth), kind)| (enqueued, kind, depth)).collect();
        let advanced = self.config.tell_all(usize::try_from(number).unwrap_or(usize::MAX), &jobs);
        self.bell.ring();
        Ok(advanced)
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        let row: Option<Vec<u8>> =
            self.redis.run(self.script(&CURSOR, Timestamp::default()).arg(name)).await?;
        row.map(|row| row::cursor(&row)).transpose()
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let (ready, waiting, leased, dead) =
            self.redis.run(&self.script(&DEPTH, Timestamp::default())).await?;
        Ok(Depth { ready, waiting, leased, dead })
    }
}

#[async_trait]
impl Work for RedisQueue {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        let mut lease = self.script(&LEASE, now);
        lease.arg(duration(visibility)).arg(&self.policies);
        for kind in kinds {
            lease.arg(kind.as_str());
        }
        let row: Option<LeaseRow> = self.redis.run(&lease).await?;
        row.map(row::lease).transpose()
    }

    async fn extend(&self, now: Timestamp, lease: Lease, visibility: Duration) -> Result<Lease, LeaseError> {
        let held = self.extend_held(now, &lease, visibility).await;
        lease.checked(held)
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        let held = self.ack_held(now, &lease).await;
        lease.checked(held).map(drop)
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        let held = self.nack_held(now, &lease, &how).await;
        lease.checked(held).map(drop)
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        let rows: Vec<(String, String)> = self.redis.run(&self.script(&SWEEP, now)).await?;
        let mut enqueued = 0;
        for (name, row) in rows {
            let (repeat, next) = parse(&row)?;
            let Ok((due, after)) = repeat.due(next, now) else {
                tracing::error!(name, "a repeated job has no next time");
                continue;
            };
            if after == next {
                continue;
            }
            let changed = serde_json::to_string(&(&repeat, after))
                .map_err(|_| broken("a repeated job can't be written"))?;
            let mut fire = self.script(&FIRE, now);
            fire.arg(&name).arg(&row).arg(changed).arg(self.config.refuse_at);
            let job = repeat.job(next);
            let until = job.dedupe.as_ref().map_or(0, |dedupe| milliseconds(now.plus(dedupe.retention)));
            fire.arg(job.kind.as_str()).arg(job.payload.as_ref()).arg(until);
            for time in due {
                fire.arg(repeat.job(time).dedupe.map(|dedupe| dedupe.key).unwrap_or_default());
            }
            let fired: usize = self.redis.run(&fire).await?;
            enqueued += fired;
        }
        if enqueued > 0 {
            self.bell.ring();
        }
        Ok(enqueued)
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        let due: Vec<String> = self.redis.run(self.script(&DUE, now).arg(&self.policies)).await?;
        let times = due.iter().filter_map(|time| time.parse::<f64>().ok());
        let times = times.map(|time| Timestamp::from_unix_ms(time as i64));
        let repeated = self.stored_repeats().await?.into_iter().map(|(_, next)| next);
        Ok(times.chain(repeated).min())
    }

    /// Rings for what this process does and, while [`RedisQueue::hear`] runs, for other processes.
    fn listen(&self) -> News {
        self.bell.listen()
    }
}

#[async_trait]
impl DeadLetters for RedisQueue {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let mut dead = self.script(&DEAD, Timestamp::default());
        let rows: Vec<(u64, String, Vec<u8>)> = self.redis.run(dead.arg(from).arg(limit)).await?;
        rows.into_iter().map(row::letter).collect()
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        let replayed = self.redis.run(self.script(&REPLAY, now).arg(id.0)).await?;
        self.bell.ring();
        Ok(replayed)
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        Ok(self.redis.run(self.script(&DISCARD, Timestamp::default()).arg(id.0)).await?)
    }
}

#[async_trait]
impl Schedule for RedisQueue {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        repeat.check()?;
        let row = (&repeat, repeat.after(now)?);
        let row = serde_json::to_string(&row).map_err(|_| broken("a repeated job can't be written"))?;
        let known = self.stored_repeats().await?.into_iter().any(|(known, _)| known == repeat);
        if !known {
            let _: u8 = self
                .redis
                .query(redis::cmd("HSET").arg(&self.keys[keys::REPEATS]).arg(&repeat.name).arg(row))
                .await?;
            self.bell.ring();
        }
        Ok(())
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        Ok(self.redis.query(redis::cmd("HDEL").arg(&self.keys[keys::REPEATS]).arg(name)).await?)
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.stored_repeats().await
    }
}
