//! Values by key, each with a lifetime, in a file or in a server that several processes share.
//!
//! The trait is what every backend can do in one atomic step. Whoever needs more than one step for
//! one decision puts the decision into one value and writes it with [`Store::put_if`].

#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod embedded;
mod guard;
#[cfg(feature = "redis")]
mod guarded;
mod janitor;
mod key;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use self::guard::GUARDS;
pub use self::{
    embedded::EmbeddedStore,
    guard::{Claim, Guard, Tenure, Waiting},
    janitor::{Report, sweep},
    key::{Away, AwayReads, AwayWrites, Family, InvalidKey, Key, Lifetime},
};
#[cfg(feature = "redis")]
pub use self::{guarded::GuardedStore, redis::RedisStore};
use crate::{embedded::StorageError, time::Timestamp};

/// The longest value, in bytes. 1 MiB: what is larger is a file.
pub const MAX_VALUE: usize = 1 << 20;

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

    /// Frees what expired, at most `limit` keys; answers how many. A backend that does so by itself
    /// answers zero.
    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError>;
}

/// Why the store could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The value or the field is longer than may be.
    #[error("{what} of {bytes} bytes is longer than the {limit} that the store takes")]
    TooLarge {
        /// Which of the two.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The store holds as many keys as it may.
    #[error("the store is full: it holds {0} keys")]
    Full(u64),
    /// The file failed.
    #[error("the embedded store failed")]
    Storage(#[from] StorageError),
    /// The server failed.
    #[cfg(feature = "redis")]
    #[error("the store in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl StoreError {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooLarge { .. } => false,
            Self::Full(_) => true,
            Self::Storage(error) => matches!(error, StorageError::DiskFull | StorageError::Io(_)),
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.is_temporary(),
        }
    }
}

#[cfg(feature = "redis")]
impl crate::redis::OfRedis for StoreError {
    fn redis(&self) -> Option<&crate::redis::RedisError> {
        if let Self::Redis(error) = self { Some(error) } else { None }
    }
}

/// Checks the bounds that all backends share.
pub(crate) fn check_value(value: &[u8]) -> Result<(), StoreError> {
    within("a value", value.len(), MAX_VALUE)
}

pub(crate) fn check_field(field: &str) -> Result<(), StoreError> {
    within("the name of a counter", field.len(), Key::MAX_ID)
}

fn within(what: &'static str, bytes: usize, limit: usize) -> Result<(), StoreError> {
    if bytes > limit { Err(StoreError::TooLarge { what, bytes, limit }) } else { Ok(()) }
}
