//! What every store can do.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Key, StoreError};
use crate::time::Timestamp;

/// A value and its version: 1 at first, one more with every change. A key that was removed or
/// expired begins at 1 again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The bytes that were written last.
    pub value: Bytes,
    /// How often the key was written since it was created.
    pub version: u64,
}

/// The answer of [`Store::put_if`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It was written; this is the new version.
    Written(u64),
    /// The stored version is another one, or `None` if the key is absent. Nothing was written.
    Conflict(Option<u64>),
}

/// A key that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The key as it is stored.
    pub key: String,
    /// When it expires; `None` if it lives forever.
    pub expires: Option<Timestamp>,
}

/// Values by key. Cheap to share. Every method may be cancelled; what was sent by then may still
/// happen.
///
/// `now` is the caller's, so that tests need not wait. A value is gone from the instant of its
/// expiry, even if the backend has not freed it yet.
///
/// ```
/// use std::time::Duration;
///
/// use livos_core::embedded::{Embedded, EmbeddedConfig};
/// use livos_core::store::{EmbeddedStore, Family, Lifetime, Put, Store};
/// use livos_core::time::{Clock, SystemClock};
///
/// const DRAFTS: Family = Family::new(
///     "notes",
///     "draft",
///     Lifetime::For(Duration::from_secs(3600)),
///     "a note that is being written",
/// );
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default())?);
/// let (now, key) = (SystemClock.now(), DRAFTS.key("anna")?);
/// assert_eq!(store.put_if(now, &key, "first".into(), None).await?, Put::Written(1));
/// // Another process also read "absent" and is told that it is too late.
/// assert_eq!(store.put_if(now, &key, "second".into(), None).await?, Put::Conflict(Some(1)));
/// assert_eq!(store.get(now, &key).await?.unwrap().value, "first");
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Store: Send + Sync {
    /// The value of `key`; `None` if it is absent or expired.
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError>;

    /// Writes whatever was there before, and answers the new version.
    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError>;

    /// Writes only if the stored version is `version`; `None` means that the key must be absent.
    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError>;

    /// Removes the value and the counters of a key; true if there was one.
    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError>;

    /// Adds to a counter and answers its new value; a missing one counts as zero. A key may have
    /// many counters, each a `field`, and every write restarts the lifetime of all. A counter stops
    /// at the ends of its range and does not wrap.
    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError>;

    /// Adds to several counters of one key and answers their new values in the same order. The
    /// backends of this crate do so in one atomic step; the default adds one after the other.
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

    /// The counters of `key`, ordered by field.
    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError>;

    /// Up to `limit` living keys with this prefix after `after`, in order. For janitors and
    /// reports: it may read a lot.
    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError>;

    /// Frees up to `limit` expired keys and answers how many. The default frees none, for backends
    /// whose server does it.
    async fn collect(&self, _now: Timestamp, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
