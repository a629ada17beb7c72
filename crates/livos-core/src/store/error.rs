//! Why a store fails, and the bounds that all stores share.

use super::Key;
#[cfg(feature = "embedded")]
use crate::embedded::StorageError;

/// The longest value, in bytes. 1 MiB: what is larger is a file.
pub const MAX_VALUE: usize = 1 << 20;

/// Why a call of the store failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A value or the name of a counter is too long.
    #[error("{what} of {bytes} bytes is longer than the {limit} that the store takes")]
    TooLarge {
        /// Which of the two, for the message.
        what: &'static str,
        /// Its length in bytes.
        bytes: usize,
        /// The most bytes that are allowed.
        limit: usize,
    },
    /// The store has no room for another key; it holds this many.
    #[error("the store is full: it holds {0} keys")]
    Full(u64),
    /// The embedded file could not be read or written.
    #[cfg(feature = "embedded")]
    #[error("the embedded store failed")]
    Storage(#[from] StorageError),
    /// Redis failed, or could not be reached.
    #[cfg(feature = "redis")]
    #[error("the store in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl StoreError {
    /// Whether the same call may succeed later although nothing is changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooLarge { .. } => false,
            Self::Full(_) => true,
            #[cfg(feature = "embedded")]
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
