//! What the scripts are told and what they answer.

use std::time::Duration;

use bytes::Bytes;
use redis::ScriptInvocation;
use serde::Deserialize;

use crate::{
    queue::{Cursor, DeadLetter, Enqueued, Job, JobId, JobKind, Lease, NewJob, QueueError, Repeat},
    redis::RedisError,
    time::Timestamp,
};

/// A dead letter's row, as the scripts write it.
#[derive(Deserialize)]
struct DeadRow {
    k: JobKind,
    a: u32,
    e: f64,
    r: String,
    d: f64,
}

/// What `LEASE` answers: id, kind, payload, attempt, most attempts, enqueued at, number of the
/// lease, waits.
pub(super) type LeaseRow = (u64, String, Vec<u8>, u32, u32, i64, u64, u32);

pub(super) fn lease(row: LeaseRow) -> Result<Lease, QueueError> {
    let (id, kind, payload, attempt, max_attempts, enqueued_at, fence, waits) = row;
    let job = Job {
        id: JobId(id),
        kind: kind.try_into()?,
        payload: Bytes::from(payload),
        attempt,
        max_attempts,
        waits,
        enqueued_at: Timestamp::from_unix_ms(enqueued_at),
    };
    Ok(Lease::new(job, fence))
}

pub(super) fn letter((id, row, payload): (u64, String, Vec<u8>)) -> Result<DeadLetter, QueueError> {
    let row: DeadRow = serde_json::from_str(&row).map_err(|_| broken("a dead letter can't be read"))?;
    Ok(DeadLetter {
        id: JobId(id),
        kind: row.k,
        payload: Bytes::from(payload),
        attempts: row.a,
        reason: row.r,
        enqueued_at: Timestamp::from_unix_ms(row.e as i64),
        died_at: Timestamp::from_unix_ms(row.d as i64),
    })
}

/// A cursor is stored as its fence, a colon and its position.
pub(super) fn cursor(row: &[u8]) -> Result<Cursor, QueueError> {
    let parts = row.iter().position(|byte| *byte == b':').map(|at| row.split_at(at));
    let fence = parts.and_then(|(fence, _)| std::str::from_utf8(fence).ok()?.parse().ok());
    let (Some(fence), Some((_, position))) = (fence, parts) else {
        return Err(broken("a cursor can't be read"));
    };
    Ok(Cursor { fence, position: Bytes::copy_from_slice(&position[1..]) })
}

pub(super) fn milliseconds(time: Timestamp) -> i64 {
    time.unix_ms().max(0)
}

pub(super) fn broken(what: &str) -> QueueError {
    QueueError::Redis(RedisError::broken(what))
}

pub(super) fn parse(row: &str) -> Result<(Repeat, Timestamp), QueueError> {
    serde_json::from_str(row).map_err(|_| broken("a repeated job can't be read"))
}

/// A job as the scripts take it: seven arguments.
pub(super) fn hand_over(script: &mut ScriptInvocation<'_>, now: Timestamp, job: &NewJob) {
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

pub(super) fn enqueued(what: &str, number: u64) -> Enqueued {
    match what {
        "enqueued" => Enqueued::Enqueued(JobId(number)),
        "duplicate" => Enqueued::Duplicate(JobId(number)),
        _ => Enqueued::Full { depth: number },
    }
}

pub(super) fn duration(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).min(1 << 50)
}
