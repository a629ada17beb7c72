//! The rows of the queue in the file, and the keys of its tables.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    embedded::{StorageError, Table, indexed},
    queue::{JobId, JobKind, payload, rate},
    time::Timestamp,
};

/// Job id: head and payload of a living job.
pub(super) const JOBS: Table = Table::new("jobs");
/// Kind, 0, urgency, id: nothing.
pub(super) const READY: Table = Table::new("ready");
/// Due time, id: nothing.
pub(super) const WAITING: Table = Table::new("waiting");
/// Kind, 0, dedupe key: id, expiry.
pub(super) const DEDUPE: Table = Table::new("dedupe");
/// Expiry, key of `DEDUPE`: nothing.
pub(super) const FORGETS: Table = Table::new("forgets");
/// Job id: head and payload of a dead letter.
pub(super) const DEAD: Table = Table::new("dead");
/// Kind: what it has running, as JSON.
pub(super) const KINDS: Table = Table::new("kinds");
/// Name: definition and next time, as JSON.
pub(super) const REPEATS: Table = Table::new("repeats");
/// Name: the last number that was given.
pub(super) const NUMBERS: Table = Table::new("numbers");
/// Name: eight bytes of fence, then the position.
pub(super) const CURSORS: Table = Table::new("cursors");

/// The head of a row; the payload follows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub kind: JobKind,
    pub priority: u8,
    pub attempts: u32,
    pub max_attempts: u32,
    #[serde(default)]
    pub waits: u32,
    pub enqueued_at: Timestamp,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum State {
    Ready,
    Waiting { until: Timestamp },
    Leased { lease: u64, since: Timestamp, until: Timestamp },
    Dead { at: Timestamp, reason: String },
}

/// What a kind has running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Running {
    pub leased: u32,
    /// When the bucket of its rate will be full, in microseconds since 1970.
    pub full_at: rate::Micros,
}

pub(super) fn damaged(what: &str) -> StorageError {
    StorageError::Corrupt(format!("{what} can't be read"))
}

pub(super) fn encode(meta: &Meta, payload: &[u8]) -> Result<Vec<u8>, StorageError> {
    payload::join(meta, payload).map_err(|_| damaged("a job"))
}

pub(super) fn decode(row: &[u8]) -> Result<(Meta, Bytes), StorageError> {
    let (meta, payload) = payload::split(row).map_err(|_| damaged("a job"))?;
    Ok((meta, Bytes::copy_from_slice(payload)))
}

pub(super) fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix_ms()).unwrap_or(0)
}

pub(super) fn micros(time: Timestamp) -> rate::Micros {
    milliseconds(time).saturating_mul(1000)
}

pub(super) fn time(milliseconds: u64) -> Timestamp {
    Timestamp::from_unix_ms(i64::try_from(milliseconds).unwrap_or(i64::MAX))
}

pub(super) fn ready_key(meta: &Meta, id: JobId) -> Vec<u8> {
    [meta.kind.as_str().as_bytes(), &[0, u8::MAX - meta.priority], &id.0.to_be_bytes()].concat()
}

pub(super) fn waiting_key(until: Timestamp, id: JobId) -> Vec<u8> {
    indexed(milliseconds(until), &id.0.to_be_bytes())
}

/// The id at the end of a key of `READY` or `WAITING`.
pub(super) fn id_of(key: &[u8]) -> Option<JobId> {
    key.last_chunk().map(|id| JobId(u64::from_be_bytes(*id)))
}
