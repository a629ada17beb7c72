//! Where finished days stay.

mod archiver;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
#[cfg(feature = "postgres")]
mod postgres;
mod store;

use async_trait::async_trait;

#[cfg(feature = "postgres")]
pub use self::postgres::{PostgresArchive, PostgresError};
pub(crate) use self::store::ARCHIVE;
pub use self::{
    archiver::{Archived, Archiver},
    store::StoreArchive,
};
use super::DayUsage;
use crate::user::UserId;
use crate::{store::StoreError, time::UtcDay};

/// The most days that are asked for at one time. Ten years.
pub const MOST_DAYS: i64 = 3660;

/// Keeps days for good.
#[async_trait]
pub trait UsageArchive: Send + Sync {
    /// Keeps these days. A day that is there already gets the larger of each figure, so that the
    /// same day may be kept any number of times, and from counters of which a part is gone.
    async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError>;

    /// The days of a user from `first` to `last`, in order; days without usage are left out. Of a
    /// longer time than [`MOST_DAYS`], the latest so many.
    async fn days(&self, user: &UserId, first: UtcDay, last: UtcDay) -> Result<Vec<DayUsage>, ArchiveError>;
}

/// Why the archive could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The store failed.
    #[error("the archive in the store failed")]
    Store(#[from] StoreError),
    /// Other processes were faster each time.
    #[error("a month of the archive is changed by too many processes at one time")]
    Contended,
    /// What stands in the store was not written by this program.
    #[error("the archive under {key} can't be read")]
    Unreadable {
        /// The key in the store.
        key: String,
    },
    /// The database failed.
    #[cfg(feature = "postgres")]
    #[error("the archive in PostgreSQL failed")]
    Postgres(#[from] PostgresError),
}

/// The first day of at most [`MOST_DAYS`].
fn bounded(first: UtcDay, last: UtcDay) -> UtcDay {
    first.max(last.plus_days(1 - MOST_DAYS))
}
