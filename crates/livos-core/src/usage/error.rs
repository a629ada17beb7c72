//! Why usage could not be reserved or counted.

use crate::{
    budget::Exhausted,
    conversation::{ReplyError, ReplyErrorKind},
    store::StoreError,
    time::Timestamp,
};

/// Why usage could not be reserved or counted. Nothing may be spent that could not be reserved.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum UsageError {
    /// A limit would be passed.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// The user's processes hold as much at one time as is allowed.
    #[error("the user has {0} pieces of work under way, the most that is allowed")]
    TooMany(usize),
    /// Other processes were faster each time.
    #[error("the user's reservations are changed by too many processes at one time")]
    Contended,
    /// The store could not do it.
    #[error("usage can't be counted, and nothing is spent that can't be counted")]
    Store(#[from] StoreError),
    /// What stands in the store was not written by this program.
    #[error("the reservations under {key} can't be read; remove that key")]
    Unreadable {
        /// The key in the store.
        key: String,
    },
}

impl UsageError {
    /// The same for a caller that waits for a reply. `now` gives the time until the limit resets.
    pub fn into_reply_error(self, now: Timestamp) -> ReplyError {
        let (kind, after) = match &self {
            Self::Exhausted(exhausted) => (ReplyErrorKind::Limit, Some(exhausted.resets_at.since(now))),
            Self::TooMany(_) => (ReplyErrorKind::Limit, None),
            _ => (ReplyErrorKind::Unavailable, None),
        };
        let message = self.to_string();
        ReplyError::new(kind, message).with_retry_after(after).with_source(self)
    }
}
