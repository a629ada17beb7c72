//! The queue in the embedded file.
//!
//! Every method is one transaction. A job stands in `jobs` with its state, and beside it in one
//! index: in `ready`, which sorts by kind, urgency and age, or in `waiting`, which sorts by when it
//! is due, be it a delay that ends or a lease that expires.

use std::{collections::BTreeMap, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Advance, Advanced, Cursor, DeadLetter, Depth, Enqueued, JobId, JobKind, KindPolicy, Lease, LeaseLost,
    Nack, NewJob, Queue, QueueConfig, QueueError, Repeat, Token, rate,
};
use crate::{
    bell::News,
    embedded::{Embedded, Read, StorageError, Table, Tables, indexed, number, prefix_end},
    time::Timestamp,
};

/// Id: row.
const JOBS: Table = Table::new("jobs");
/// Kind, 0, urgency, id: nothing.
const READY: Table = Table::new("ready");
/// Due time, id: nothing.
const WAITING: Table = Table::new("waiting");
/// Kind, 0, dedupe key: id, expiry.
const DEDUPE: Table = Table::new("dedupe");
/// Expiry, key of `DEDUPE`: nothing.
const FORGETS: Table = Table::new("forgets");
/// Id: row.
const DEAD: Table = Table::new("dead");
/// Kind: leases held and the tokens of its rate limit, as JSON.
const KINDS: Table = Table::new("kinds");
/// Name: definition and next time, as JSON.
const REPEATS: Table = Table::new("repeats");
/// Name: the number given last.
const NUMBERS: Table = Table::new("numbers");
/// Name: fence, position.
const CURSORS: Table = Table::new("cursors");

/// A [`Queue`] over an [`Embedded`] file.
#[derive(Debug, Clone)]
pub struct EmbeddedQueue {
    file: Embedded,
    config: QueueConfig,
}

impl EmbeddedQueue {
    /// The queue in this file.
    pub fn new(file: Embedded, config: QueueConfig) -> Self {
        Self { file, config }
    }
}

/// What stands before the payload of a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Meta {
    kind: JobKind,
    priority: u8,
    attempts: u32,
    max_attempts: u32,
    enqueued_at: Timestamp,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum State {
    Ready,
    Waiting { until: Timestamp },
    Leased { lease: u64, since: Timestamp, until: Timestamp },
    Dead { at: Timestamp, reason: String },
}

/// What a kind has under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Running {
    leased: u32,
    /// When the bucket of its rate will be full, in microseconds.
    full_at: rate::Micros,
}

/// Expired leases and ended delays that one lease moves; what is left is moved by the next.
const MOVED: usize = 256;
/// Dedupe keys that one enqueue forgets, if their time is over: more than it adds.
const FORGOTTEN: usize = 4;

fn damaged(what: &str) -> StorageError {
    StorageError::Corrupt(format!("{what} can't be read"))
}

fn encode(meta: &Meta, payload: &[u8]) -> Result<Vec<u8>, StorageError> {
    let head = serde_json::to_vec(meta).map_err(|_| damaged("a job"))?;
    let length = u32::try_from(head.len()).map_err(|_| damaged("a job"))?;
    Ok([length.to_be_bytes().as_slice(), &head, payload].concat())
}

fn decode(row: &[u8]) -> Result<(Meta, Bytes), StorageError> {
    let (length, rest) = row.split_first_chunk().ok_or_else(|| damaged("a job"))?;
    let (head, payload) =
        rest.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(|| damaged("a job"))?;
    let meta = serde_json::from_slice(head).map_err(|_| damaged("a job"))?;
    Ok((meta, Bytes::copy_from_slice(payload)))
}

fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix_ms()).unwrap_or(0)
}

fn micros(time: Timestamp) -> rate::Micros {
    milliseconds(time).saturating_mul(1000)
}

fn time(milliseconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

fn ready_key(meta: &Meta, id: JobId) -> Vec<u8> {
    [meta.kind.as_str().as_bytes(), &[0, u8::MAX - meta.priority], &id.0.to_be_bytes()].concat()
}

fn waiting_key(until: Timestamp, id: JobId) -> Vec<u8> {
    indexed(milliseconds(until), &id.0.to_be_bytes())
}

/// What became of some steps: how many were taken, and each job with the depth after it.
#[derive(Default)]
struct Taken {
    steps: usize,
    jobs: Vec<(Enqueued, JobKind, u64)>,
}

/// One transaction's view of the queue.
struct Work<'a, 'txn> {
    tables: &'a mut Tables<'txn>,
    now: Timestamp,
}

impl Work<'_, '_> {
    fn next(&mut self, name: &str) -> Result<u64, StorageError> {
        let next = self.tables.view(NUMBERS, name.as_bytes(), number)?.unwrap_or(0) + 1;
        self.tables.put(NUMBERS, name.as_bytes(), &next.to_be_bytes())?;
        Ok(next)
    }

    fn job(&self, id: JobId) -> Result<Option<(Meta, Bytes)>, StorageError> {
        let row = self.tables.get(JOBS, &id.0.to_be_bytes())?;
        row.map(|row| decode(&row)).transpose()
    }

    /// Takes a job out of the index of its state, and its kind's count.
    fn leave(&mut self, id: JobId, meta: &Meta) -> Result<(), StorageError> {
        match &meta.state {
            State::Ready => {
                self.tables.remove(READY, &ready_key(meta, id))?;
            }
            State::Waiting { until } => {
                self.tables.remove(WAITING, &waiting_key(*until, id))?;
            }
            State::Leased { until, .. } => {
                self.tables.remove(WAITING, &waiting_key(*until, id))?;
                self.change_kind(&meta.kind, |running| running.leased = running.leased.saturating_sub(1))?;
            }
            State::Dead { .. } => {}
        }
        Ok(())
    }

    /// Writes a job with a new state, and puts it into the index of that.
    fn enter(&mut self, id: JobId, meta: &Meta, payload: &[u8]) -> Result<(), StorageError> {
        let (key, row) = (id.0.to_be_bytes(), encode(meta, payload)?);
        match &meta.state {
            State::Dead { .. } => {
                self.tables.remove(JOBS, &key)?;
                self.tables.put(DEAD, &key, &row)?;
                return Ok(());
            }
            State::Ready => {
                self.tables.put(READY, &ready_key(meta, id), &[])?;
            }
            State::Waiting { until } => {
                self.tables.put(WAITING, &waiting_key(*until, id), &[])?;
            }
            State::Leased { until, .. } => {
                self.tables.put(WAITING, &waiting_key(*until, id), &[])?;
                self.change_kind(&meta.kind, |running| running.leased += 1)?;
            }
        }
        self.tables.put(JOBS, &key, &row)?;
        Ok(())
    }

    fn change(
        &mut self,
        id: JobId,
        meta: &mut Meta,
        payload: &[u8],
        state: State,
    ) -> Result<(), StorageError> {
        self.leave(id, meta)?;
        meta.state = state;
        self.enter(id, meta, payload)
    }

    fn kind(&self, kind: &JobKind) -> Result<Running, StorageError> {
        let row = self.tables.get(KINDS, kind.as_str().as_bytes())?;
        row.map_or(Ok(Running::default()), |row| serde_json::from_slice(&row).map_err(|_| damaged("a kind")))
    }

    fn change_kind(&mut self, kind: &JobKind, change: impl FnOnce(&mut Running)) -> Result<(), StorageError> {
        let mut running = self.kind(kind)?;
        change(&mut running);
        let row = serde_json::to_vec(&running).map_err(|_| damaged("a kind"))?;
        self.tables.put(KINDS, kind.as_str().as_bytes(), &row)?;
        Ok(())
    }

    fn enqueue(&mut self, job: &NewJob, bound: Option<u64>) -> Result<Enqueued, StorageError> {
        self.forget(FORGOTTEN)?;
        let dedupe = job.dedupe.as_ref().map(|dedupe| {
            let key = [job.kind.as_str().as_bytes(), &[0], dedupe.key.as_bytes()].concat();
            (key, milliseconds(self.now.plus(dedupe.retention)))
        });
        if let Some((key, _)) = &dedupe {
            let known = self.tables.get(DEDUPE, key)?;
            if let Some(row) = known {
                let (id, until) = (number(&row), number(row.get(8..).unwrap_or_default()));
                if until > milliseconds(self.now) {
                    return Ok(Enqueued::Duplicate(JobId(id)));
                }
                self.tables.remove(FORGETS, &indexed(until, key))?;
            }
        }
        let depth = self.tables.len(JOBS)?;
        if bound.is_some_and(|bound| depth >= bound) {
            return Ok(Enqueued::Full { depth });
        }
        let id = JobId(self.next("job")?);
        if let Some((key, until)) = dedupe {
            let row = [id.0.to_be_bytes(), until.to_be_bytes()].concat();
            self.tables.put(DEDUPE, &key, &row)?;
            self.tables.put(FORGETS, &indexed(until, &key), &[])?;
        }
        let state = match job.not_before.filter(|time| *time > self.now) {
            Some(until) => State::Waiting { until },
            None => State::Ready,
        };
        let meta = Meta {
            kind: job.kind.clone(),
            priority: job.priority,
            attempts: 0,
            max_attempts: job.max_attempts.max(1),
            enqueued_at: self.now,
            state,
        };
        self.enter(id, &meta, &job.payload)?;
        Ok(Enqueued::Enqueued(id))
    }

    /// Forgets dedupe keys whose time is over.
    fn forget(&mut self, limit: usize) -> Result<(), StorageError> {
        let end = (milliseconds(self.now) + 1).to_be_bytes();
        for (index, _) in self.tables.rows(FORGETS, &[], Some(&end), limit)? {
            self.tables.remove(DEDUPE, index.get(8..).unwrap_or_default())?;
            self.tables.remove(FORGETS, &index)?;
        }
        Ok(())
    }

    /// Ends delays and takes over leases whose time is over.
    fn promote(&mut self) -> Result<(), StorageError> {
        let end = (milliseconds(self.now) + 1).to_be_bytes();
        for (index, _) in self.tables.rows(WAITING, &[], Some(&end), MOVED)? {
            let id = JobId(number(index.get(8..).unwrap_or_default()));
            let Some((mut meta, payload)) = self.job(id)? else {
                self.tables.remove(WAITING, &index)?;
                continue;
            };
            let expired = matches!(meta.state, State::Leased { .. });
            let state = if expired && meta.attempts >= meta.max_attempts {
                let reason = "its lease expired on the last attempt: the worker died or hung".to_owned();
                State::Dead { at: self.now, reason }
            } else {
                State::Ready
            };
            self.change(id, &mut meta, &payload, state)?;
        }
        Ok(())
    }

    /// The steps that were taken and what came of their jobs, or the fence that is higher.
    fn advance(&mut self, advance: &Advance, bound: u64) -> Result<Result<Taken, u64>, StorageError> {
        let name = advance.cursor.as_bytes();
        let fence = self.tables.get(CURSORS, name)?.map_or(0, |row| number(&row));
        if fence > advance.fence {
            return Ok(Err(fence));
        }
        let mut taken = Taken::default();
        let mut position = None;
        for step in &advance.steps {
            if let Some(job) = &step.job {
                let enqueued = self.enqueue(job, Some(bound))?;
                taken.jobs.push((enqueued, job.kind.clone(), self.tables.len(JOBS)?));
                if matches!(enqueued, Enqueued::Full { .. }) {
                    break;
                }
            }
            position = Some(&step.position);
            taken.steps += 1;
        }
        if let Some(position) = position {
            let row = [advance.fence.to_be_bytes().as_slice(), position].concat();
            self.tables.put(CURSORS, name, &row)?;
        }
        Ok(Ok(taken))
    }

    fn lease(
        &mut self,
        kinds: &[JobKind],
        visibility: Duration,
        policies: &BTreeMap<JobKind, KindPolicy>,
    ) -> Result<Option<Lease>, StorageError> {
        self.promote()?;
        let mut first: Option<Vec<u8>> = None;
        for kind in if kinds.is_empty() { self.ready_kinds()? } else { kinds.to_vec() } {
            if self.held_back(&kind, policies)?.is_some() {
                continue;
            }
            let prefix = [kind.as_str().as_bytes(), &[0]].concat();
            let found = self.tables.rows(READY, &prefix, prefix_end(&prefix).as_deref(), 1)?;
            let urgency = |key: &[u8]| key.get(key.len().saturating_sub(9)..).unwrap_or_default().to_vec();
            if let Some((key, _)) = found.into_iter().next()
                && first.as_ref().is_none_or(|first| urgency(&key) < urgency(first))
            {
                first = Some(key);
            }
        }
        let Some(key) = first else { return Ok(None) };
        let id = JobId(number(key.get(key.len() - 8..).unwrap_or_default()));
        let (mut meta, payload) = self.job(id)?.ok_or_else(|| damaged("an index"))?;
        let lease = self.next("lease")?;
        let until = self.now.plus(visibility);
        meta.attempts += 1;
        // The index of a ready job depends on nothing that was changed here.
        self.change(id, &mut meta, &payload, State::Leased { lease, since: self.now, until })?;
        if let Some(rate) = policies.get(&meta.kind).and_then(|policy| policy.rate) {
            let now = micros(self.now);
            self.change_kind(&meta.kind, |running| running.full_at = rate::take(rate, running.full_at, now))?;
        }
        Ok(Some(Lease {
            id,
            kind: meta.kind,
            payload,
            attempt: meta.attempts,
            max_attempts: meta.max_attempts,
            enqueued_at: meta.enqueued_at,
            token: Token { job: id, lease },
        }))
    }

    /// Until when the policy of a kind lets nothing through; for ever where only the end of a lease
    /// helps.
    fn held_back(
        &self,
        kind: &JobKind,
        policies: &BTreeMap<JobKind, KindPolicy>,
    ) -> Result<Option<Timestamp>, StorageError> {
        let Some(policy) = policies.get(kind) else { return Ok(None) };
        let running = self.kind(kind)?;
        if policy.concurrency.is_some_and(|most| running.leased >= most) {
            return Ok(Some(Timestamp::from_unix_ms(i64::MAX)));
        }
        let now = micros(self.now);
        let free = policy.rate.map(|rate| rate::free_at(rate, running.full_at, now));
        Ok(free.filter(|free| *free > now).map(|free| time(free.div_ceil(1000))))
    }

    /// The kinds that have a ready job.
    fn ready_kinds(&self) -> Result<Vec<JobKind>, StorageError> {
        let (mut kinds, mut from) = (Vec::new(), Vec::new());
        while let Some((key, _)) = self.tables.rows(READY, &from, None, 1)?.into_iter().next() {
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            from = [name.as_bytes(), &[1]].concat();
            kinds.push(JobKind::try_from(name).map_err(|_| damaged("an index"))?);
        }
        Ok(kinds)
    }

    /// The job of a lease that is held.
    fn held(&self, token: Token) -> Result<Option<(Meta, Bytes)>, StorageError> {
        let held = |meta: &Meta| matches!(meta.state, State::Leased { lease, .. } if lease == token.lease);
        Ok(self.job(token.job)?.filter(|(meta, _)| held(meta)))
    }

    fn nack(&mut self, token: Token, how: Nack) -> Result<Result<(), LeaseLost>, StorageError> {
        let Some((mut meta, payload)) = self.held(token)? else { return Ok(Err(LeaseLost)) };
        let used_up = meta.attempts >= meta.max_attempts;
        let (state, attempts) = match how {
            Nack::Release => (State::Ready, meta.attempts.saturating_sub(1)),
            Nack::Retry { after, .. } if !used_up && after.is_zero() => (State::Ready, meta.attempts),
            Nack::Retry { after, .. } if !used_up => {
                (State::Waiting { until: self.now.plus(after) }, meta.attempts)
            }
            Nack::Retry { reason, .. } | Nack::Dead { reason } => {
                (State::Dead { at: self.now, reason: super::bounded(reason) }, meta.attempts)
            }
        };
        self.leave(token.job, &meta)?;
        (meta.state, meta.attempts) = (state, attempts);
        self.enter(token.job, &meta, &payload)?;
        Ok(Ok(()))
    }

    /// Leases that begin in the future were given before the clock was set back; they would hide
    /// their jobs for as long.
    fn repair_leases(&mut self) -> Result<(), StorageError> {
        let from = (milliseconds(self.now) + 1).to_be_bytes();
        for (index, _) in self.tables.rows(WAITING, &from, None, usize::MAX)? {
            let id = JobId(number(index.get(8..).unwrap_or_default()));
            let Some((mut meta, payload)) = self.job(id)? else { continue };
            if let State::Leased { lease, since, until } = meta.state
                && since > self.now
            {
                let until = self.now.plus(until.since(since));
                self.change(id, &mut meta, &payload, State::Leased { lease, since: self.now, until })?;
            }
        }
        Ok(())
    }

    fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, StorageError> {
        let all = self.tables.rows(REPEATS, &[], None, usize::MAX)?;
        all.iter()
            .map(|(_, row)| serde_json::from_slice(row).map_err(|_| damaged("a repeated job")))
            .collect()
    }

    fn set_repeat(&mut self, repeat: &Repeat, next: Timestamp) -> Result<(), StorageError> {
        let row = serde_json::to_vec(&(repeat, next)).map_err(|_| damaged("a repeated job"))?;
        self.tables.put(REPEATS, repeat.name.as_bytes(), &row)?;
        Ok(())
    }

    fn tick(&mut self, bound: u64) -> Result<usize, StorageError> {
        self.forget(MOVED)?;
        self.repair_leases()?;
        let mut enqueued = 0;
        'repeats: for (repeat, next) in self.repeats()? {
            // A definition was checked when it came in; one that can't be read any more must not
            // hold up the others.
            let Ok((due, after)) = repeat.due(next, self.now) else {
                tracing::error!(name = repeat.name, "a repeated job has no next time");
                continue;
            };
            for time in due {
                match self.enqueue(&repeat.job(time), Some(bound))? {
                    Enqueued::Enqueued(_) => enqueued += 1,
                    Enqueued::Duplicate(_) | Enqueued::Spilled => {}
                    // Its time stays, and comes again when there is room.
                    Enqueued::Full { .. } => continue 'repeats,
                }
            }
            if after != next {
                self.set_repeat(&repeat, after)?;
            }
        }
        Ok(enqueued)
    }
}

impl EmbeddedQueue {
    /// Takes a job in whose bounds were checked already, for who wraps it into a larger one.
    pub(super) async fn enqueue_any(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        let (bound, kind) = (self.config.refuse_at, job.kind.clone());
        let (enqueued, depth) = self
            .work(now, move |work| {
                let enqueued = work.enqueue(&job, Some(bound))?;
                Ok((enqueued, work.tables.len(JOBS)?))
            })
            .await?;
        self.config.tell(enqueued, &kind, depth);
        if matches!(enqueued, Enqueued::Enqueued(_)) {
            self.file.bell.ring();
        }
        Ok(enqueued)
    }

    async fn work<T: Send + 'static>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut Work<'_, '_>) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, QueueError> {
        Ok(self.file.write(move |tables| work(&mut Work { tables, now })).await?)
    }
}

#[async_trait]
impl Queue for EmbeddedQueue {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        self.enqueue_any(now, job).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        advance.check()?;
        let bound = self.config.refuse_at;
        let taken = match self.work(now, move |work| work.advance(&advance, bound)).await? {
            Ok(taken) => taken,
            Err(fence) => return Ok(Advanced::Stale { fence }),
        };
        let advanced = self.config.tell_all(taken.steps, &taken.jobs);
        self.file.bell.ring();
        Ok(advanced)
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        let name = name.as_bytes().to_vec();
        let found = self.file.read(move |snapshot| {
            let row = snapshot.get(CURSORS, &name)?;
            Ok(row.map(|row| Cursor { fence: number(&row), position: Bytes::from(row).slice(8..) }))
        });
        Ok(found.await?)
    }

    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        let (kinds, policies) = (kinds.to_vec(), self.config.kinds.clone());
        self.work(now, move |work| work.lease(&kinds, visibility, &policies)).await
    }

    async fn extend(
        &self,
        now: Timestamp,
        token: Token,
        visibility: Duration,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        self.work(now, move |work| {
            let Some((mut meta, payload)) = work.held(token)? else { return Ok(Err(LeaseLost)) };
            let state = State::Leased { lease: token.lease, since: now, until: now.plus(visibility) };
            work.change(token.job, &mut meta, &payload, state).map(Ok)
        })
        .await
    }

    async fn ack(&self, now: Timestamp, token: Token) -> Result<Result<(), LeaseLost>, QueueError> {
        let acked = self
            .work(now, move |work| {
                let Some((meta, _)) = work.held(token)? else { return Ok(Err(LeaseLost)) };
                work.leave(token.job, &meta)?;
                work.tables.remove(JOBS, &token.job.0.to_be_bytes())?;
                Ok(Ok(()))
            })
            .await;
        // A kind with a bound has room again.
        self.file.bell.ring();
        acked
    }

    async fn nack(
        &self,
        now: Timestamp,
        token: Token,
        how: Nack,
    ) -> Result<Result<(), LeaseLost>, QueueError> {
        let nacked = self.work(now, move |work| work.nack(token, how)).await;
        self.file.bell.ring();
        nacked
    }

    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let found = self.file.read(move |snapshot| {
            let found = snapshot.rows(DEAD, &from.to_be_bytes(), None, limit)?;
            let letter = |(key, row): (Vec<u8>, Vec<u8>)| {
                let (meta, payload) = decode(&row)?;
                let State::Dead { at, reason } = meta.state else { return Err(damaged("a dead letter")) };
                Ok(DeadLetter {
                    id: JobId(number(&key)),
                    kind: meta.kind,
                    payload,
                    attempts: meta.attempts,
                    reason,
                    enqueued_at: meta.enqueued_at,
                    died_at: at,
                })
            };
            found.into_iter().map(letter).collect()
        });
        Ok(found.await?)
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        let replayed = self
            .work(now, move |work| {
                let row = work.tables.take(DEAD, &id.0.to_be_bytes())?;
                let Some(row) = row else { return Ok(false) };
                let (mut meta, payload) = decode(&row)?;
                (meta.state, meta.attempts) = (State::Ready, 0);
                let id = JobId(work.next("job")?);
                work.enter(id, &meta, &payload)?;
                Ok(true)
            })
            .await?;
        self.file.bell.ring();
        Ok(replayed)
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        let discarded = self.file.write(move |tables| tables.remove(DEAD, &id.0.to_be_bytes()));
        Ok(discarded.await?)
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let depth = self.file.read(|snapshot| {
            let mut leased = 0;
            for (_, row) in snapshot.rows(KINDS, &[], None, usize::MAX)? {
                let running: Running = serde_json::from_slice(&row).map_err(|_| damaged("a kind"))?;
                leased += u64::from(running.leased);
            }
            Ok(Depth {
                ready: snapshot.len(READY)?,
                waiting: snapshot.len(WAITING)?.saturating_sub(leased),
                leased,
                dead: snapshot.len(DEAD)?,
            })
        });
        Ok(depth.await?)
    }

    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        repeat.check()?;
        let first = repeat.after(now)?;
        let set = self.work(now, move |work| {
            let row = work.tables.get(REPEATS, repeat.name.as_bytes())?;
            let known: Option<(Repeat, Timestamp)> = row.and_then(|row| serde_json::from_slice(&row).ok());
            match known {
                Some((known, _)) if known == repeat => Ok(()),
                _ => work.set_repeat(&repeat, first),
            }
        });
        set.await?;
        self.file.bell.ring();
        Ok(())
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        let name = name.to_owned();
        let removed = self.file.write(move |tables| tables.remove(REPEATS, name.as_bytes()));
        Ok(removed.await?)
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.work(Timestamp::default(), |work| work.repeats()).await
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        let bound = self.config.refuse_at;
        let enqueued = self.work(now, move |work| work.tick(bound)).await?;
        if enqueued > 0 {
            self.file.bell.ring();
        }
        Ok(enqueued)
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        let policies = self.config.kinds.clone();
        let due = self.work(now, move |work| {
            let waiting = work.tables.rows(WAITING, &[], None, 1)?.into_iter().next();
            let waiting = waiting.map(|(key, _)| time(number(&key)));
            let repeated = work.repeats()?.into_iter().map(|(_, next)| next).min();
            let mut due = waiting.into_iter().chain(repeated).min();
            for kind in work.ready_kinds()? {
                let free = work.held_back(&kind, &policies)?.filter(|at| at.unix_ms() < i64::MAX);
                due = due.into_iter().chain(free).min();
            }
            Ok(due)
        });
        due.await
    }

    fn listen(&self) -> News {
        self.file.bell.listen()
    }
}
