//! One durable file, shared by the store and the queue: nothing to install, and what was
//! acknowledged survives `kill -9`.
//!
//! One thread writes. It takes whatever operations are waiting, applies them in order in one
//! transaction, and commits with one `fsync`; only then is each caller answered. So sixty-four
//! callers cost about as many syncs as one, and an operation is either there as a whole or not at
//! all. Readers see the last commit and wait for nobody.

mod engine;
mod error;
#[cfg(test)]
mod power_loss;
mod table;
#[cfg(test)]
mod tests;

pub use engine::{Embedded, EmbeddedConfig};
pub use error::{OpenError, StorageError};
pub(crate) use table::{Read, Snapshot, Table, Tables, indexed, number, prefix_end};
#[cfg(test)]
pub(crate) use tests::fast_folder;
