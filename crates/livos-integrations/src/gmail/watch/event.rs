//! What happens to a watch, and what is done about it.

use std::time::Duration;

use livos_core::time::Timestamp;

use super::{WatchAlert, WatchState};
use crate::gmail::HistoryId;

/// What may happen to a watch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchInput {
    /// The process runs. Ignored once started.
    Started,
    /// Gmail confirmed the watch.
    Armed {
        /// When it ends.
        expires_at: Timestamp,
    },
    /// Gmail did not.
    ArmFailed(WatchFailure),
    /// A push came.
    Notified {
        /// Where it says that the history stands.
        history_id: HistoryId,
    },
    /// The mailbox was looked at.
    Synced(Synced),
    /// It could not be.
    SyncFailed(WatchFailure),
    /// A job found that the grant is gone.
    TokenDied,
    /// The user consented again.
    Consented,
    /// The clock shows an earlier time than before.
    ClockSetBack,
}

/// Why it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFailure {
    /// For a while.
    Temporary {
        /// Not before then, where Gmail said so.
        retry_after: Option<Duration>,
    },
    /// For as long as nobody changes something, or a quota is renewed.
    Lasting,
    /// The grant is gone.
    TokenDead,
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced {
    /// Where the cursor stands now.
    pub cursor: HistoryId,
    /// Messages that became jobs.
    pub new: usize,
    /// What is left to do.
    pub rest: Remaining,
    /// Whether mail may have been passed over.
    pub skipped: bool,
}

/// What a look left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remaining {
    /// Nothing.
    Nothing,
    /// There is more than one look takes.
    More,
    /// The queue took no more.
    QueueFull,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum WatchOutput {
    /// Remember this before anything that comes after it.
    Persist(WatchState),
    /// Arm the watch, or renew it; answered by [`WatchInput::Armed`] or [`WatchInput::ArmFailed`].
    Renew,
    /// Look at the mailbox; answered by [`WatchInput::Synced`] or [`WatchInput::SyncFailed`].
    Sync(SyncReason),
    /// Tell a person.
    Alert(WatchAlert),
    /// Tell him that it is over.
    Recovered(WatchAlert),
    /// Work on no more jobs of Gmail.
    Disable,
    /// Work on them again.
    Enable,
}

/// Why the mailbox is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncReason {
    /// The process began.
    Start,
    /// A push came.
    Push,
    /// It was time.
    Poll,
    /// There was more than the last look took.
    Rest,
    /// To find out whether the grant is back.
    Probe,
}
