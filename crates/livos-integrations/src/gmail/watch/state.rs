//! What a watch remembers over restarts.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{collections::BTreeSet, fmt};

use livos_core::{
    store::{Family, Lifetime},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

pub(super) const FAMILY: Family = Family::new(
    "gmail",
    "watch",
    Lifetime::Forever { reason: "a mailbox is watched until it is disconnected" },
    "when the watch of a mailbox is renewed, and what a person was told",
);

/// What a watch remembers over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WatchState {
    /// When it is renewed next; at once where there is none.
    pub renew_at: Option<Timestamp>,
    /// When it ends, by Gmail's last word.
    pub expires_at: Option<Timestamp>,
    /// Whether the grant is gone.
    pub consent_lost: bool,
    /// What a person was told and what has not recovered yet.
    pub raised: BTreeSet<WatchAlert>,
    /// What a person is to be told. It stands here until it was said, so that a crash says it twice
    /// at the worst, and never not at all.
    pub pending: BTreeSet<WatchAlert>,
}

/// What a person must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WatchAlert {
    /// The watch could not be renewed. It is tried again, and mail is polled for.
    RenewalFailing,
    /// The watch has ended. Mail is polled for.
    WatchExpired,
    /// Mail arrives without pushes. The watch was armed again; if that does not help, check the
    /// subscription and the endpoint.
    PushSilent,
    /// The mailbox could not be looked at for a while.
    SyncFailing,
    /// The grant is gone: nothing of Gmail works before the user consents again.
    ConsentNeeded,
    /// The history was lost for longer than a full sync goes back, so that older mail may have been
    /// passed over.
    MailSkipped,
}

impl fmt::Display for WatchAlert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RenewalFailing => "gmail's push notifications could not be renewed; mail is polled for",
            Self::WatchExpired => "gmail's push notifications have ended; mail is polled for",
            Self::PushSilent => "gmail sends no push notifications although they are on; mail is polled for",
            Self::SyncFailing => "the mailbox can't be looked at",
            Self::ConsentNeeded => "access to gmail has ended; please connect the account again",
            Self::MailSkipped => "the mailbox was out of sight for too long; older mail was passed over",
        })
    }
}
