//! What every store can do.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, StoreError};
use crate::time::Timestamp;

/// A value and the number of its version: 1 at first, more with every change. A key that was gone
/// begins again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What was written.
    pub value: Bytes,
    /// How often the key was written since it came to be.
    pub version: u64,
}

/// What [`Store::put_if`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// Written; this is its version now.
    Written(u64),
    /// Another version stands there, or none; nothing was written.
    Conflict(Option<u64>),
}

/// A key that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its text.
    pub key: String,
    /// When it expires; none where it does not.
    pub expires: Option<Timestamp>,
}

/// Values by key. Cheap to share; every method may be cancelled, and what was sent by then may
/// still happen.
///
/// `now` is the caller's, so that tests need not wait. A value is gone from the instant of its
/// expiry on, wherever its remains still lie.
#[async_trait]
pub trait Store: Send + Sync {
    /// The value under `key`, if it lives.
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Writes, whatever was there; answers the new version.
    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError>;

    /// Writes where `version` still stands, or where nothing stands and `version` is none.
    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError>;

    /// Removes a value, and counters; true when something was there.
    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError>;

    /// Adds to a counter and answers its new value; one that is not there is zero. Many counters
    /// live under one key, each a `field`; the lifetime of all begins anew. It stops at the ends of
    /// the range and does not wrap.
    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError>;

    /// Adds to several counters under one key, and answers their new values in the same order. The
    /// backends here do so in one step; by itself the trait adds to one after the other.
    async fn add_all(
        &self,
        now: Timestamp,
        key: &Key,
        deltas: &[(String, i64)],
    ) -> Result<Vec<i64>, StoreError> {
        let mut after = Vec::with_capacity(deltas.len());
        for (field, delta) in deltas {
            after.push(self.add(now, key, field, *delta).await?);
        }
        Ok(after)
    }

    /// The counters under `key`, by field in order.
    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError>;

    /// Living keys that begin with `prefix` and come after `after`, in order, at most `limit`. For
    /// janitors and reports: it may read much.
    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError>;

    /// Frees expired keys, at most `limit`, and answers how many. By itself the trait frees none:
    /// for backends whose server does it.
    async fn collect(&self, _now: Timestamp, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
