//! A mailbox that is never silent by mistake: pushes that are kept alive, a poll for what they
//! miss, and one cursor for both (P-12).
//!
//! A push subscription of Gmail ends after seven days, and ends without a word. [`WatchRenewal`]
//! decides when it is renewed, when the mailbox is looked at anyway, and when a person must know;
//! [`Watcher`] does what it says. Whatever caused a look, it lists the history from the stored
//! cursor, enqueues what came, and only then moves the cursor; so a crash repeats work, and repeats
//! are duplicates to the queue.

mod access;
mod config;
mod cursor;
mod driver;
mod event;
mod job;
mod machine;
mod phase;
mod state;
mod sync;
#[cfg(test)]
mod tests;

pub use self::{
    access::MailboxAccess,
    config::{InvalidWatch, WatchConfig},
    driver::{Told, UnwatchableMailbox, WatchHandle, Watcher},
    event::{Remaining, SyncReason, Synced, WatchFailure, WatchInput, WatchOutput},
    job::{MailJob, NoMailJob},
    machine::WatchRenewal,
    state::{WatchAlert, WatchState},
};
use livos_core::store::Family;

/// The families of keys that a watch keeps in the store.
pub const FAMILIES: [Family; 2] = [cursor::FAMILY, state::FAMILY];
