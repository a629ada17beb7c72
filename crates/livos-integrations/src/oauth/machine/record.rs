//! What a record makes due, and the changes that every part of the machine writes into one.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use crate::oauth::{
    Alert, Ending,
    grant::{Attempts, Data, Standing},
};

/// Alerts that wait in a record. There are few kinds, and each is told once.
pub(super) const MOST_ALERTS: usize = 16;

/// What a record makes due at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Look,
    Refresh,
    /// The access token is over and there is no way to another.
    End,
    Revoke,
    Raise,
    WarnOfEnd(Timestamp),
    WarnOfIdle(Timestamp),
}

/// Ends the grant and queues the alert that asks for a new consent.
pub(super) fn end(data: &mut Data, now: Timestamp, why: Ending) {
    data.standing = Standing::Ended { why: why.clone(), at: now };
    data.attempts = Attempts { at: Some(now), ..Attempts::default() };
    tell(data, Alert::NeedsConsent(why));
}

/// Queues an alert, unless the same one or [`MOST_ALERTS`] are waiting.
pub(super) fn tell(data: &mut Data, alert: Alert) {
    if data.outbox.len() < MOST_ALERTS && !data.outbox.contains(&alert) {
        data.outbox.push(alert);
    }
}
