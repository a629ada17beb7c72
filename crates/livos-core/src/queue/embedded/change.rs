//! The changes of the queue in the file.
//!
//! A job is in `JOBS` with its state and in one index: in `READY`, which sorts by kind, urgency and
//! age, or in `WAITING`, which sorts by when it is due, be it the end of a delay or of a lease.

use std::{collections::BTreeMap, time::Duration};

use super::{
    row::{
        CURSORS, DEAD, DEDUPE, FORGETS, JOBS, KINDS, Meta, NUMBERS, READY, REPEATS, Running, State, WAITING,
        damaged, decode, encode, id_of, micros, milliseconds, ready_key, waiting_key,
    },
    view::View,
};
use crate::{
    embedded::{Read, StorageError, Tables, indexed, number, prefix_end},
    queue::{
        Advance, Enqueued, Job, JobId, JobKind, KindPolicy, Lease, Nack, NewJob, Repeat, config::bounded,
        rate,
    },
    time::Timestamp,
};

/// Expired leases and ended delays that one lease moves; the next lease moves the rest.
const MOVED: usize = 256;
/// Expired dedupe keys that one enqueue forgets: more than it adds.
const FORGOTTEN: usize = 4;

/// The steps of an advance that were taken, and what came of each job with the depth after it.
#[derive(Default)]
pub(super) struct Taken {
    pub steps: usize,
    pub jobs: Vec<(Enqueued, JobKind, u64)>,
}

/// A change of the queue, within one transaction.
pub(super) struct Change<'a, 'txn> {
    pub tables: &'a mut Tables<'txn>,
    pub now: Timestamp,
}

impl<'txn> Change<'_, 'txn> {
    fn view(&self) -> View<'_, Tables<'txn>> {
        View { tables: self.tables, now: self.now }
    }

    fn next(&mut self, name: &str) -> Result<u64, StorageError> {
        let next = self.tables.view(NUMBERS, name.as_bytes(), number)?.unwrap_or(0) + 1;
        self.tables.put(NUMBERS, name.as_bytes(), &next.to_be_bytes())?;
        Ok(next)
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

    fn change_kind(&mut self, kind: &JobKind, change: impl FnOnce(&mut Running)) -> Result<(), StorageError> {
        let mut running = self.view().kind(kind)?;
        change(&mut running);
        let row = serde_json::to_vec(&running).map_err(|_| damaged("a kind"))?;
        self.tables.put(KINDS, kind.as_str().as_bytes(), &row)?;
        Ok(())
    }

    pub fn enqueue(&mut self, job: &NewJob, bound: Option<u64>) -> Result<Enqueued, StorageError> {
        self.forget(FORGOTTEN)?;
        let dedupe = job.dedupe.as_ref().map(|dedupe| {
            let key = [job.kind.as_str().as_bytes(), &[0], dedupe.key.as_bytes()].concat();
            (key, milliseconds(self.now.plus(dedupe.retention)))
        });
        let mut known = None;
        if let Some((key, _)) = &dedupe
            && let Some(row) = self.tables.get(DEDUPE, key)?
        {
            let (id, until) = (number(&row), number(row.get(8..).unwrap_or_default()));
            let remembered = until > milliseconds(self.now);
            let is_dead = self.tables.view(DEAD, &id.to_be_bytes(), |_| ())?.is_some();
            if remembered && !is_dead {
                return Ok(Enqueued::Duplicate(JobId(id)));
            }
            known = Some((until, remembered.then_some(id)));
        }
        let depth = self.tables.len(JOBS)?;
        if bound.is_some_and(|bound| depth >= bound) {
            return Ok(Enqueued::Full { depth });
        }
        // Sent again by its provider, a job that was given up gets all its attempts again.
        if let (Some((key, _)), Some((until, dead))) = (&dedupe, known) {
            self.tables.remove(FORGETS, &indexed(until, key))?;
            if let Some(id) = dead {
                self.tables.remove(DEAD, &id.to_be_bytes())?;
            }
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
            waits: 0,
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
            let Some((mut meta, payload)) = self.view().job(id)? else {
                self.tables.remove(WAITING, &index)?;
                continue;
            };
            let expired = matches!(meta.state, State::Leased { .. });
            let state = if expired { self.after_lost_lease(&meta) } else { State::Ready };
            self.change(id, &mut meta, &payload, state)?;
        }
        Ok(())
    }

    /// Takes over the leases with numbers up to `last`, as though their time were over.
    pub fn reclaim(&mut self, last: u64) -> Result<(), StorageError> {
        for id in self.view().leases_up_to(last)? {
            let Some((mut meta, payload)) = self.view().job(id)? else { continue };
            let state = self.after_lost_lease(&meta);
            self.change(id, &mut meta, &payload, state)?;
        }
        Ok(())
    }

    /// A job that kills its workers must not come forever.
    fn after_lost_lease(&self, meta: &Meta) -> State {
        if meta.attempts < meta.max_attempts {
            return State::Ready;
        }
        let reason = "its lease expired on the last attempt: the worker died or hung".to_owned();
        State::Dead { at: self.now, reason }
    }

    /// The number of the lease that was given last.
    pub fn last_lease(&self) -> Result<u64, StorageError> {
        Ok(self.tables.view(NUMBERS, b"lease", number)?.unwrap_or(0))
    }

    /// The steps that were taken and what came of their jobs, or the fence that is higher.
    pub fn advance(&mut self, advance: &Advance, bound: u64) -> Result<Result<Taken, u64>, StorageError> {
        let name = advance.cursor.as_bytes();
        let fence = self.tables.view(CURSORS, name, number)?.unwrap_or(0);
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

    pub fn lease(
        &mut self,
        kinds: &[JobKind],
        visibility: Duration,
        policies: &BTreeMap<JobKind, KindPolicy>,
    ) -> Result<Option<Lease>, StorageError> {
        self.promote()?;
        let mut first: Option<Vec<u8>> = None;
        for kind in if kinds.is_empty() { self.view().ready_kinds()? } else { kinds.to_vec() } {
            if self.view().held_back(&kind, policies)?.is_some() {
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
        let id = id_of(&key).ok_or_else(|| damaged("an index"))?;
        let (mut meta, payload) = self.view().job(id)?.ok_or_else(|| damaged("an index"))?;
        let lease = self.next("lease")?;
        let until = self.now.plus(visibility);
        meta.attempts += 1;
        // The index of a ready job depends on nothing that was changed here.
        self.change(id, &mut meta, &payload, State::Leased { lease, since: self.now, until })?;
        if let Some(rate) = policies.get(&meta.kind).and_then(|policy| policy.rate) {
            let now = micros(self.now);
            self.change_kind(&meta.kind, |running| running.full_at = rate::take(rate, running.full_at, now))?;
        }
        let job = Job {
            id,
            kind: meta.kind,
            payload,
            attempt: meta.attempts,
            max_attempts: meta.max_attempts,
            waits: meta.waits,
            enqueued_at: meta.enqueued_at,
        };
        Ok(Some(Lease::new(job, lease)))
    }

    /// False if the lease is not held any more.
    pub fn extend(&mut self, id: JobId, fence: u64, visibility: Duration) -> Result<bool, StorageError> {
        let Some((mut meta, payload)) = self.view().held(id, fence)? else { return Ok(false) };
        let state = State::Leased { lease: fence, since: self.now, until: self.now.plus(visibility) };
        self.change(id, &mut meta, &payload, state)?;
        Ok(true)
    }

    /// False if the lease is not held any more.
    pub fn ack(&mut self, id: JobId, fence: u64) -> Result<bool, StorageError> {
        let Some((meta, _)) = self.view().held(id, fence)? else { return Ok(false) };
        self.leave(id, &meta)?;
        self.tables.remove(JOBS, &id.0.to_be_bytes())
    }

    /// False if the lease is not held any more.
    pub fn nack(&mut self, id: JobId, fence: u64, how: Nack) -> Result<bool, StorageError> {
        let Some((mut meta, payload)) = self.view().held(id, fence)? else { return Ok(false) };
        let used_up = meta.attempts >= meta.max_attempts;
        let (state, attempts) = match how {
            Nack::Release => (State::Ready, meta.attempts.saturating_sub(1)),
            Nack::Wait { after } => {
                meta.waits = meta.waits.saturating_add(1);
                (State::Waiting { until: self.now.plus(after) }, meta.attempts.saturating_sub(1))
            }
            Nack::Retry { after, .. } if !used_up && after.is_zero() => (State::Ready, meta.attempts),
            Nack::Retry { after, .. } if !used_up => {
                (State::Waiting { until: self.now.plus(after) }, meta.attempts)
            }
            Nack::Retry { reason, .. } | Nack::Dead { reason } => {
                (State::Dead { at: self.now, reason: bounded(&reason).to_owned() }, meta.attempts)
            }
        };
        self.leave(id, &meta)?;
        (meta.state, meta.attempts) = (state, attempts);
        self.enter(id, &meta, &payload)?;
        Ok(true)
    }

    /// False if there is no such dead letter.
    pub fn replay(&mut self, id: JobId) -> Result<bool, StorageError> {
        let Some(row) = self.tables.take(DEAD, &id.0.to_be_bytes())? else { return Ok(false) };
        let (mut meta, payload) = decode(&row)?;
        (meta.state, meta.attempts, meta.waits) = (State::Ready, 0, 0);
        let id = JobId(self.next("job")?);
        self.enter(id, &meta, &payload)?;
        Ok(true)
    }

    /// Keeps the next time of a repeated job that is defined as it was.
    pub fn repeat(&mut self, repeat: &Repeat, first: Timestamp) -> Result<(), StorageError> {
        let row = self.tables.get(REPEATS, repeat.name.as_bytes())?;
        let known: Option<(Repeat, Timestamp)> = row.and_then(|row| serde_json::from_slice(&row).ok());
        match known {
            Some((known, _)) if known == *repeat => Ok(()),
            _ => self.set_repeat(repeat, first),
        }
    }

    /// Leases that begin in the future would hide their jobs for as long as the clock was set back.
    fn repair_leases(&mut self) -> Result<(), StorageError> {
        for id in self.view().leases_from_the_future()? {
            let Some((mut meta, payload)) = self.view().job(id)? else { continue };
            if let State::Leased { lease, since, until } = meta.state {
                let until = self.now.plus(until.since(since));
                self.change(id, &mut meta, &payload, State::Leased { lease, since: self.now, until })?;
            }
        }
        Ok(())
    }

    fn set_repeat(&mut self, repeat: &Repeat, next: Timestamp) -> Result<(), StorageError> {
        let row = serde_json::to_vec(&(repeat, next)).map_err(|_| damaged("a repeated job"))?;
        self.tables.put(REPEATS, repeat.name.as_bytes(), &row)?;
        Ok(())
    }

    pub fn tick(&mut self, bound: u64) -> Result<usize, StorageError> {
        self.forget(MOVED)?;
        self.repair_leases()?;
        let mut enqueued = 0;
        'repeats: for (repeat, next) in self.view().repeats()? {
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
