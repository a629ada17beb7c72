//! Errors of the file: when it is opened, and later.

use std::path::PathBuf;

/// Why a file could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another process; two must never write one file, so stop that one first", .0.display())]
    Locked(PathBuf),
    /// Its checksums are wrong, or it is not a file of this kind.
    #[error(
        "{} is damaged or not a LivOS file: {reason}. Move it away and put the newest backup in its place; without one, start with an empty \
         file and keep the damaged one",
        path.display()
    )]
    Corrupt {
        /// The path that was given.
        path: PathBuf,
        /// What was wrong, in the library's words.
        reason: String,
    },
    /// The process has no permission to write it, or the disk is read-only.
    #[error("{} can't be written: check its owner, its mode and whether the disk is mounted read-only", .path.display())]
    ReadOnly {
        /// The path that was given.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
    /// Any other error of the operating system.
    #[error("{} can't be opened", path.display())]
    Io {
        /// The path that was given.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Why an operation failed. It had no effect, unless the error says that this is unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The disk is full. The file is intact, and works again as soon as there is room.
    #[error("the disk is full")]
    DiskFull,
    /// The file could not be read or written.
    #[error("the file could not be read or written: {0}")]
    Io(String),
    /// What was read can't be decoded.
    #[error("the file is damaged: {0}")]
    Corrupt(String),
    /// The file was closed, or its writer is gone.
    #[error("the file is closed")]
    Closed,
}

impl StorageError {
    /// From the operating system.
    pub(super) fn from_io(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<redb::StorageError> for StorageError {
    fn from(error: redb::StorageError) -> Self {
        match error {
            redb::StorageError::Io(error) => Self::from_io(&error),
            redb::StorageError::Corrupted(what) => Self::Corrupt(what),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<redb::TransactionError> for StorageError {
    fn from(error: redb::TransactionError) -> Self {
        match error {
            redb::TransactionError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}

impl From<redb::TableError> for StorageError {
    fn from(error: redb::TableError) -> Self {
        match error {
            redb::TableError::Storage(error) => error.into(),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<redb::CommitError> for StorageError {
    fn from(error: redb::CommitError) -> Self {
        match error {
            redb::CommitError::Storage(error) => error.into(),
            other => Self::Io(other.to_string()),
        }
    }
}
