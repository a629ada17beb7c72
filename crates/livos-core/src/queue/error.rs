//! Why a queue fails.

use super::InvalidJob;
#[cfg(feature = "embedded")]
use crate::embedded::StorageError;

/// Why the queue could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// No queue takes this job.
    #[error("the queue refuses the job")]
    Invalid(#[from] InvalidJob),
    /// The embedded file could not be read or written.
    #[cfg(feature = "embedded")]
    #[error("the embedded queue failed")]
    Storage(#[from] StorageError),
    /// Redis failed, or could not be reached.
    #[cfg(feature = "redis")]
    #[error("the queue in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl QueueError {
    /// Whether the same call may succeed later although nothing is changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Invalid(_) => false,
            #[cfg(feature = "embedded")]
            Self::Storage(error) => matches!(error, StorageError::DiskFull | StorageError::Io(_)),
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.is_temporary(),
        }
    }
}

#[cfg(feature = "redis")]
impl crate::redis::OfRedis for QueueError {
    fn redis(&self) -> Option<&crate::redis::RedisError> {
        if let Self::Redis(error) = self { Some(error) } else { None }
    }
}
