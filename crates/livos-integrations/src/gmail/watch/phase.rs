//! Where a watch stands: what is under way, and what is due when.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use super::event::SyncReason;
use crate::gmail::HistoryId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Idle,
    Watching {
        renewal: Renewal,
        look: Look,
        check_at: Timestamp,
        /// What a push told of and the history has not shown yet.
        expected: Option<HistoryId>,
    },
    /// The grant is gone, and tried from time to time.
    Lost {
        look: Look,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    /// Only polling was asked for.
    Never,
    Due(Timestamp),
    UnderWay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Due {
        at: Timestamp,
        reason: SyncReason,
    },
    UnderWay {
        reason: SyncReason,
        /// Asked for again meanwhile.
        again: bool,
    },
}

impl Renewal {
    pub(super) fn hasten(&mut self, at: Timestamp) {
        if let Self::Due(due) = self {
            *due = (*due).min(at);
        }
    }
}

impl Look {
    pub(super) fn hasten(&mut self, at: Timestamp) {
        if let Self::Due { at: due, .. } = self {
            *due = (*due).min(at);
        }
    }

    pub(super) fn due_at(self) -> Option<Timestamp> {
        match self {
            Self::Due { at, .. } => Some(at),
            Self::UnderWay { .. } => None,
        }
    }

    pub(super) fn is_asked_again(self) -> bool {
        matches!(self, Self::UnderWay { again: true, .. })
    }
}
