//! What can be asked of the queue in the file, in a snapshot as well as in the middle of a change.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::row::{
    CURSORS, DEAD, FORGETS, JOBS, KINDS, Meta, READY, REPEATS, Running, State, WAITING, damaged, decode,
    id_of, micros, milliseconds, time,
};
use crate::{
    embedded::{Read, StorageError, number},
    queue::{Cursor, DeadLetter, Depth, JobId, JobKind, KindPolicy, Repeat, payload, rate},
    time::Timestamp,
};

/// The queue at one time.
pub(super) struct View<'a, R> {
    pub tables: &'a R,
    pub now: Timestamp,
}

impl<R: Read> View<'_, R> {
    pub fn job(&self, id: JobId) -> Result<Option<(Meta, Bytes)>, StorageError> {
        self.tables.view(JOBS, &id.0.to_be_bytes(), decode)?.transpose()
    }

    fn meta(&self, id: JobId) -> Result<Option<Meta>, StorageError> {
        let meta = |row: &[u8]| payload::split(row).map(|(meta, _)| meta).map_err(|_| damaged("a job"));
        self.tables.view(JOBS, &id.0.to_be_bytes(), meta)?.transpose()
    }

    /// The job, if this is its lease.
    pub fn held(&self, id: JobId, fence: u64) -> Result<Option<(Meta, Bytes)>, StorageError> {
        let held = |meta: &Meta| matches!(meta.state, State::Leased { lease, .. } if lease == fence);
        Ok(self.job(id)?.filter(|(meta, _)| held(meta)))
    }

    pub fn kind(&self, kind: &JobKind) -> Result<Running, StorageError> {
        let read = |row: &[u8]| serde_json::from_slice(row).map_err(|_| damaged("a kind"));
        Ok(self.tables.view(KINDS, kind.as_str().as_bytes(), read)?.transpose()?.unwrap_or_default())
    }

    /// Until when the policy of a kind lets nothing through; the end of time if only the end of a
    /// lease helps.
    pub fn held_back(
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
    pub fn ready_kinds(&self) -> Result<Vec<JobKind>, StorageError> {
        let (mut kinds, mut from) = (Vec::new(), Vec::new());
        while let Some((key, _)) = self.tables.rows(READY, &from, None, 1)?.into_iter().next() {
            let name = key.split(|byte| *byte == 0).next().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            from = [name.as_bytes(), &[1]].concat();
            kinds.push(JobKind::try_from(name).map_err(|_| damaged("an index"))?);
        }
        Ok(kinds)
    }

    pub fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, StorageError> {
        let all = self.tables.rows(REPEATS, &[], None, usize::MAX)?;
        all.iter()
            .map(|(_, row)| serde_json::from_slice(row).map_err(|_| damaged("a repeated job")))
            .collect()
    }

    pub fn next_due(
        &self,
        policies: &BTreeMap<JobKind, KindPolicy>,
    ) -> Result<Option<Timestamp>, StorageError> {
        let waiting = self.tables.rows(WAITING, &[], None, 1)?.into_iter().next();
        let waiting = waiting.map(|(key, _)| time(number(&key)));
        let repeated = self.repeats()?.into_iter().map(|(_, next)| next).min();
        let mut due = waiting.into_iter().chain(repeated).min();
        for kind in self.ready_kinds()? {
            let free = self.held_back(&kind, policies)?.filter(|at| at.unix_ms() < i64::MAX);
            due = due.into_iter().chain(free).min();
        }
        Ok(due)
    }

    /// Whether a tick has anything to change: a dedupe key to forget, a repeated job whose next
    /// time is now or too far away, or a lease that begins in the future.
    pub fn tick_is_due(&self) -> Result<bool, StorageError> {
        let forgettable = self.tables.rows(FORGETS, &[], None, 1)?;
        if forgettable.first().is_some_and(|(key, _)| number(key) <= milliseconds(self.now)) {
            return Ok(true);
        }
        for (repeat, next) in self.repeats()? {
            // One that can't be read any more is for the tick to report.
            if repeat.due(next, self.now).map_or(true, |(due, after)| !due.is_empty() || after != next) {
                return Ok(true);
            }
        }
        Ok(!self.leases_from_the_future()?.is_empty())
    }

    /// The jobs whose lease has a number up to `last`.
    pub fn leases_up_to(&self, last: u64) -> Result<Vec<JobId>, StorageError> {
        let mut leases = Vec::new();
        for (key, _) in self.tables.rows(WAITING, &[], None, usize::MAX)? {
            let Some(id) = id_of(&key) else { continue };
            let Some(meta) = self.meta(id)? else { continue };
            if matches!(meta.state, State::Leased { lease, .. } if lease <= last) {
                leases.push(id);
            }
        }
        Ok(leases)
    }

    /// Leases that were given before the clock was set back.
    pub fn leases_from_the_future(&self) -> Result<Vec<JobId>, StorageError> {
        let from = (milliseconds(self.now) + 1).to_be_bytes();
        let mut leases = Vec::new();
        for (key, _) in self.tables.rows(WAITING, &from, None, usize::MAX)? {
            let Some(id) = id_of(&key) else { continue };
            let Some(meta) = self.meta(id)? else { continue };
            if matches!(meta.state, State::Leased { since, .. } if since > self.now) {
                leases.push(id);
            }
        }
        Ok(leases)
    }

    pub fn cursor(&self, name: &str) -> Result<Option<Cursor>, StorageError> {
        let row = self.tables.get(CURSORS, name.as_bytes())?;
        Ok(row.map(|row| Cursor { fence: number(&row), position: Bytes::from(row).slice(8..) }))
    }

    pub fn depth(&self) -> Result<Depth, StorageError> {
        let mut leased = 0;
        for (_, row) in self.tables.rows(KINDS, &[], None, usize::MAX)? {
            let running: Running = serde_json::from_slice(&row).map_err(|_| damaged("a kind"))?;
            leased += u64::from(running.leased);
        }
        Ok(Depth {
            ready: self.tables.len(READY)?,
            waiting: self.tables.len(WAITING)?.saturating_sub(leased),
            leased,
            dead: self.tables.len(DEAD)?,
        })
    }

    pub fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, StorageError> {
        let from = after.map_or(0, |after| after.0.saturating_add(1));
        let found = self.tables.rows(DEAD, &from.to_be_bytes(), None, limit)?;
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
    }
}
