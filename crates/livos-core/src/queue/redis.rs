//! The queue in a Redis server, for several processes.
//!
//! Every method is one script, so it happens as a whole or not at all. The scripts keep the same
//! indexes as the embedded file does, and pass the same contract and the same model.

use std::{sync::LazyLock, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use redis::{Script, ScriptInvocation};
use serde::Deserialize;

use super::{
    Advance, Advanced, Cursor, DeadLetter, Depth, Enqueued, InvalidJob, JobId, JobKind, Lease, LeaseLost,
    Nack, NewJob, Queue, QueueConfig, QueueError, Repeat, Token,
};
use crate::{
    bell::{Bell, News},
    drain::DrainSignal,
    redis::{Redis, RedisError},
    store::Key,
    time::Timestamp,
};

/// A [`Queue`] in a [`Redis`] server. Processes with the same name share it, and must have the same
/// configuration.
#[derive(Debug, Clone)]
pub struct RedisQueue {
    redis: Redis,
    config: QueueConfig,
    keys: Vec<String>,
    epoch: String,
    policies: String,
    bell: Bell,
}

/// The keys of a queue in the order in which the scripts name them, with how long what is in them
/// stays, and what it is.
const PARTS: [(&str, &str, &str); 13] = [
    ("jobs", "until the job is acked or discarded", "the state of each job"),
    ("payloads", "until the job is acked or discarded", "what is to be done"),
    ("ready", "until the job is leased", "jobs to be leased, by kind, priority and age"),
    ("waiting", "until their time comes", "delayed jobs, and leases, by when they end"),
    ("dedupe", "as each key says", "dedupe keys, with their jobs"),
    ("forgets", "as each key says", "when each dedupe key is forgotten"),
    ("dead", "until an operator replays or discards them", "dead letters"),
    ("leased", "for ever: a number for each kind", "leases of each kind"),
    ("full", "for ever: a number for each kind", "the bucket of each kind that has a rate"),
    ("repeats", "until a program forgets them", "repeated jobs"),
    ("numbers", "for ever: two numbers", "the last numbers of a job and of a lease"),
    ("bell", "nothing is kept: it is a channel", "rung when a job becomes ready"),
    ("cursors", "for ever: its reader may come back after any time", "how far each channel was read"),
];
/// After so much silence the bell is listened to on a new connection. A minute: between two,
/// workers look every few seconds anyway.
const SILENCE: Duration = Duration::from_secs(60);
/// The mark of the server, beside them.
const EPOCH: (&str, &str, &str) =
    ("epoch", "for ever: one mark", "tells the server that it was from one that was emptied");

macro_rules! scripts {
    ($($name:ident = $body:literal;)*) => {$(
        static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!(include_str!("redis.lua"), $body)));
    )*};
}

scripts! {
    ENQUEUE = r"
        local answer = enqueue(ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
        answer[3] = depth()
        return answer";
    ADVANCE = r"
        local name, fence = ARGV[2], tonumber(ARGV[3])
        local known = redis.call('HGET', cursors, name)
        local standing = known and tonumber(string.match(known, '^(%d+):')) or 0
        if standing > fence then
            return {'stale', standing, {}}
        end
        local steps, answers, position = 0, {}, nil
        for at = 5, #ARGV, 8 do
            if ARGV[at + 1] ~= '' then
                local answer = enqueue(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[4]))
                answers[#answers + 1] = {answer[1], answer[2], depth()}
                if answer[1] == 'full' then
                    break
                end
            end
            position, steps = ARGV[at], steps + 1
        end
        if position then
            redis.call('HSET', cursors, name, ARGV[3] .. ':' .. position)
        end
        return {'moved', steps, answers}";
    CURSOR = r"
        return redis.call('HGET', cursors, ARGV[2])";
    LEASE = r"
        promote()
        local policies, first, urgency = cjson.decode(ARGV[3]), nil, nil
        local kinds = {}
        for at = 4, #ARGV do
            kinds[#kinds + 1] = ARGV[at]
        end
        if #kinds == 0 then
            kinds = ready_kinds()
        end
        for _, kind in ipairs(kinds) do
            if held_back(kind, policies) == nil then
                local found = redis.call('ZRANGEBYLEX', ready, '[' .. kind .. '\0', '(' .. kind .. '\1', 'LIMIT', 0, 1)[1]
                if found and (not urgency or string.sub(found, #kind + 2) < urgency) then
                    first, urgency = found, string.sub(found, #kind + 2)
                end
            end
        end
        if not first then
            return false
        end
        local id = tonumber(string.sub(urgency, 4))
        local job = load_job(id)
        leave(id, job)
        job.l = redis.call('HINCRBY', numbers, 'lease', 1)
        job.s, job.a, job.i, job.u = 'l', job.a + 1, now, now + tonumber(ARGV[2])
        enter(id, job)
        local policy = policies[job.k]
        if policy and policy.n then
            local at = math.min(tonumber(redis.call('HGET', full, job.k) or 0), now * 1000 + policy.t)
            at = math.max(at, now * 1000) + math.floor(policy.t / math.max(policy.n, 1))
            redis.call('HSET', full, job.k, string.format('%.0f', at))
        end
        return {id, job.k, redis.call('HGET', payloads, id), job.a, job.m, string.format('%.0f', job.e), job.l}";
    EXTEND = r"
        local id, lease = tonumber(ARGV[2]), tonumber(ARGV[3])
        local job = held(id, lease)
        if not job then
            return 0
        end
        leave(id, job)
        job.i, job.u = now, now + tonumber(ARGV[4])
        enter(id, job)
        return 1";
    ACK = r"
        local id = tonumber(ARGV[2])
        local job = held(id, tonumber(ARGV[3]))
        if not job then
            return 0
        end
        leave(id, job)
        erase(id)
        return 1";
    NACK = r"
        local id, how, after, reason = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[5]), ARGV[6]
        local job = held(id, tonumber(ARGV[3]))
        if not job then
            return 0
        end
        leave(id, job)
        if how == 'release' then
            job.s, job.a = 'r', math.max(job.a - 1, 0)
        elseif how == 'retry' and job.a < job.m and after == 0 then
            job.s = 'r'
        elseif how == 'retry' and job.a < job.m then
            job.s, job.u = 'w', now + after
        else
            job.s, job.r, job.d = 'd', reason, now
        end
        enter(id, job)
        return 1";
    DEAD = r"
        local letters = {}
        for at, id in ipairs(redis.call('ZRANGEBYSCORE', dead, ARGV[2], '+inf', 'LIMIT', 0, ARGV[3])) do
            letters[at] = {id, redis.call('HGET', jobs, id), redis.call('HGET', payloads, id)}
        end
        return letters";
    REPLAY = r"
        local id = tonumber(ARGV[2])
        if redis.call('ZREM', dead, id) == 0 then
            return 0
        end
        local job, payload = load_job(id), redis.call('HGET', payloads, id)
        erase(id)
        local new = redis.call('HINCRBY', numbers, 'job', 1)
        job.s, job.a, job.r, job.d = 'r', 0, nil, nil
        redis.call('HSET', payloads, new, payload)
        enter(new, job)
        return 1";
    DISCARD = r"
        local id = tonumber(ARGV[2])
        local removed = redis.call('ZREM', dead, id)
        if removed == 1 then
            erase(id)
        end
        return removed";
    DEPTH = r"
        local busy = 0
        for _, count in ipairs(redis.call('HVALS', leased)) do
            busy = busy + tonumber(count)
        end
        return {redis.call('ZCARD', ready), redis.call('ZCARD', waiting) - busy, busy, redis.call('ZCARD', dead)}";
    // One repeated job's due times, unless another process was faster.
    FIRE = r"
        if redis.call('HGET', repeats, ARGV[2]) ~= ARGV[3] then
            return 0
        end
        local count, bound, kind, payload, until_ = 0, tonumber(ARGV[5]), ARGV[6], ARGV[7], tonumber(ARGV[8])
        for at = 9, #ARGV do
            local answer = enqueue(kind, payload, ARGV[at], until_, 0, 100, 10, bound)
            if answer[1] == 'full' then
                return count
            end
            if answer[1] == 'enqueued' then
                count = count + 1
            end
        end
        redis.call('HSET', repeats, ARGV[2], ARGV[4])
        return count";
    SWEEP = r"
        forget(256)
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', waiting, '(' .. now, '+inf')) do
            local id = tonumber(member)
            local job = load_job(id)
            if job and job.s == 'l' and job.i > now then
                leave(id, job)
                job.i, job.u = now, now + (job.u - job.i)
                enter(id, job)
            end
        end
        return redis.call('HGETALL', repeats)";
    DUE = r"
        local policies, due = cjson.decode(ARGV[2]), {}
        local first = redis.call('ZRANGE', waiting, 0, 0, 'WITHSCORES')[2]
        if first then
            due[1] = first
        end
        for _, kind in ipairs(ready_kinds()) do
            local free = held_back(kind, policies)
            if free and free >= 0 then
                due[#due + 1] = string.format('%.0f', free)
            end
        end
        return due";
}

/// A dead letter's row, as the scripts write it.
#[derive(Deserialize)]
struct DeadRow {
    k: JobKind,
    a: u32,
    e: f64,
    r: String,
    d: f64,
}

impl RedisQueue {
    /// The queue of this name: 1 to 64 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub fn new(redis: Redis, name: &str, config: QueueConfig) -> Result<Self, InvalidJob> {
        let name = JobKind::try_from(name)?;
        let key = |part: &str| format!("{}:queue:{{{name}}}:{part}", Key::NAMESPACE);
        let (keys, epoch) = (PARTS.iter().map(|(part, ..)| key(part)).collect(), key(EPOCH.0));
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
        let rows = PARTS.iter().chain([&EPOCH]).map(|(part, lifetime, purpose)| {
            format!("| `{}:queue:{{name}}:{part}` | {purpose} | {lifetime} |\n", Key::NAMESPACE)
        });
        let head = "| keys | for | lifetime |\n| --- | --- | --- |\n".to_owned();
        rows.fold(head, |table, row| table + &row)
    }

    /// Hears of what other processes make ready, on a connection of its own, until the drain.
    /// Without it their jobs are found when a worker looks.
    pub async fn hear(&self, drain: DrainSignal) {
        let heard = async {
            loop {
                if let Err(error) = self.hear_one_connection().await {
                    tracing::debug!(%error, "the bell of the queue is not heard");
                }
                // Connecting has a pace of its own; this one is for a server that lets everybody in
                // and out again.
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
        self.redis.within(listener.subscribe(&self.keys[11])).await?;
        // What was rung before it listened.
        self.bell.ring();
        let mut messages = std::pin::pin!(listener.into_on_message());
        loop {
            let message = std::future::poll_fn(|cx| messages.as_mut().poll_next(cx));
            // A connection can break unheard.
            match tokio::time::timeout(SILENCE, message).await {
                Ok(Some(_)) => self.bell.ring(),
                _ => return Ok(()),
            }
        }
    }

    /// A mark that was left in the server when it was first used, and is gone when the server was
    /// emptied.
    pub async fn epoch(&self) -> Result<String, RedisError> {
        let mark = uuid::Uuid::new_v4().simple().to_string();
        let _: Option<String> =
            self.redis.query(redis::cmd("SET").arg(&self.epoch).arg(mark).arg("NX")).await?;
        self.redis.query(redis::cmd("GET").arg(&self.epoch)).await
    }

    /// The server that it is in.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    fn script<'a>(&self, script: &'a Script, now: Timestamp) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        invocation.key(&self.keys).arg(milliseconds(now));
        invocation
    }

    async fn settle(&self, invocation: &ScriptInvocation<'_>) -> Result<Result<(), LeaseLost>, QueueError> {
        let held: u8 = self.redis.run(invocation).await?;
        self.bell.ring();
        Ok(if held == 1 { Ok(()) } else { Err(LeaseLost) })
    }

    async fn stored_repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        let rows: Vec<String> = self.redis.query(redis::cmd("HVALS").arg(&self.keys[9])).await?;
        let mut repeats: Vec<_> = rows.iter().map(|row| parse(row)).collect::<Result<_, _>>()?;
        repeats.sort_by(|(one, _): &(Repeat, _), (other, _)| one.name.cmp(&other.name));
        Ok(repeats)
    }
}

fn milliseconds(time: Timestamp) -> i64 {
    time.unix_ms().max(0)
}

fn broken(what: &str) -> QueueError {
    QueueError::Redis(RedisError::broken(what))
}

fn parse(row: &str) -> Result<(Repeat, Timestamp), QueueError> {
    serde_json::from_str(row).map_err(|_| broken("a repeated job can't be read"))
}

/// A job as the scripts take it: seven arguments.
fn hand_over(script: &mut ScriptInvocation<'_>, now: Timestamp, job: &NewJob) {
    let (key, until) = match &job.dedupe {
        Some(dedupe) => (dedupe.key.as_str(), milliseconds(now.plus(dedupe.retention))),
        None => ("", 0),
    };
    script
        .arg(job.kind.as_str())
        .arg(job.payload.as_ref())
        .arg(key)
        .arg(until)
        .arg(job.not_before.map_or(0, milliseconds))
        .arg(job.priority)
        .arg(job.max_attempts.max(1));
}

fn enqueued(what: &str, number: u64) -> Enqueued {
    match what {
        "enqueued" => Enqueued::Enqueued(JobId(number)),
        "duplicate" => Enqueued::Duplicate(JobId(number)),
        _ => Enqueued::Full { depth: number },
    }
}

fn duration(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}

#[async_trait]
impl Queue for RedisQueue {
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
        let Some(row) = row else { return Ok(None) };
        let parts = row.iter().position(|byte| *byte == b':').map(|at| row.split_at(at));
        let fence = parts.and_then(|(fence, _)| std::str::from_utf8(fence).ok()?.parse().ok());
        let (Some(fence), Some((_, position))) = (fence, parts) else {
            return Err(broken("a cursor can't be read"));
        };
        Ok(Some(Cursor { fence, position: Bytes::copy_from_slice(&position[1..]) }))
    }

    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        type Row = (u64, String, Vec<u8>, u32, u32, i64, u64);
        let mut lease = self.script(&LEASE, now);
        lease.arg(duration(visibility)).arg(&self.policies);
        for kind in kinds {
            lease.arg(kind.as_str());
        }
        let row: Option<Row> = self.redis.run(&lease).await?;
        let Some((id, kind, payload, attempt, max_attempts, enqueued_at, lease)) = row else {
            return Ok(None);
        };
        Ok(Some(Lease {
            id: JobId(id),
            kind: kind.try_into()?,
            payload: Bytes::from(payload),
            attempt,
            max_attempts,
            enqueued_at: Timestamp::from_unix_ms(enqueued_at),
            token: Token { job: JobId(id), lease },
        }))
    }

    async fn extend(
        &self,
        now: Timestamp,
        token: Token,
        visibility: Duration,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        let mut extend = self.script(&EXTEND, now);
        self.settle(extend.arg(token.job.0).arg(token.lease).arg(duration(visibility))).await
    }

    async fn ack(&self, now: Timestamp, token: Token) -> Result<Result<(), LeaseLost>, QueueError> {
        let mut ack = self.script(&ACK, now);
        self.settle(ack.arg(token.job.0).arg(token.lease)).await
    }

    async fn nack(
        &self,
        now: Timestamp,
        token: Token,
        how: Nack,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        let (how, after, reason) = match how {
            Nack::Release => ("release", 0, String::new()),
            Nack::Retry { after, reason } => ("retry", duration(after), super::bounded(reason)),
            Nack::Dead { reason } => ("dead", 0, super::bounded(reason)),
        };
        let mut nack = self.script(&NACK, now);
        self.settle(nack.arg(token.job.0).arg(token.lease).arg(how).arg(after).arg(reason)).await
    }

    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let mut dead = self.script(&DEAD, Timestamp::default());
        let rows: Vec<(u64, String, Vec<u8>)> = self.redis.run(dead.arg(from).arg(limit)).await?;
        let letter = |(id, row, payload): (u64, String, Vec<u8>)| {
            let row: DeadRow =
                serde_json::from_str(&row).map_err(|_| broken("a dead letter can't be read"))?;
            Ok(DeadLetter {
                id: JobId(id),
                kind: row.k,
                payload: Bytes::from(payload),
                attempts: row.a,
                reason: row.r,
                enqueued_at: Timestamp::from_unix_ms(row.e as i64),
                died_at: Timestamp::from_unix_ms(row.d as i64),
            })
        };
        rows.into_iter().map(letter).collect()
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        let replayed = self.redis.run(self.script(&REPLAY, now).arg(id.0)).await?;
        self.bell.ring();
        Ok(replayed)
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        Ok(self.redis.run(self.script(&DISCARD, Timestamp::default()).arg(id.0)).await?)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let (ready, waiting, leased, dead) =
            self.redis.run(&self.script(&DEPTH, Timestamp::default())).await?;
        Ok(Depth { ready, waiting, leased, dead })
    }

    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        repeat.check()?;
        let row = (&repeat, repeat.after(now)?);
        let row = serde_json::to_string(&row).map_err(|_| broken("a repeated job can't be written"))?;
        let known = self.stored_repeats().await?.into_iter().any(|(known, _)| known == repeat);
        if !known {
            let _: u8 =
                self.redis.query(redis::cmd("HSET").arg(&self.keys[9]).arg(&repeat.name).arg(row)).await?;
            self.bell.ring();
        }
        Ok(())
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        Ok(self.redis.query(redis::cmd("HDEL").arg(&self.keys[9]).arg(name)).await?)
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.stored_repeats().await
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

    /// Rings for what this process does, and while [`RedisQueue::hear`] runs for what others do.
    fn listen(&self) -> News {
        self.bell.listen()
    }
}
