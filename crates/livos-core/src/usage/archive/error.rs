//! Why an archive failed.

#[cfg(feature = "postgres")]
use super::postgres_error::PostgresError;
use crate::store::StoreError;

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
