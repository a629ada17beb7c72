//! What handles leave to the bookkeeper.

use std::pin::Pin;

use tokio::sync::mpsc;

use super::Tally;
use crate::user::UserId;

/// What is left to the bookkeeper.
pub(super) enum Entry {
    /// A hold that is over, and what it used.
    Over { user: UserId, id: String, used: Tally },
    /// A hold to be made for work that is expected.
    Ahead(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl Entry {
    /// Says what will be missing from the counters. What was set aside for it comes back by itself.
    pub(super) fn lost(&self, why: &str) {
        if let Self::Over { user, used, .. } = self
            && !used.counted.is_zero()
        {
            tracing::error!(%user, used = ?used.counted, why, "usage could not be counted");
            metrics::counter!("livos_usage_lost_total").increment(1);
        }
    }
}

/// The way to the bookkeeper. It works until the last of these is gone.
#[derive(Clone)]
pub(super) struct Entries(mpsc::UnboundedSender<Entry>);

impl Entries {
    /// A way to a bookkeeper, and its end.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Entry>) {
        let (entries, booked) = mpsc::unbounded_channel();
        (Self(entries), booked)
    }

    /// Leaves an entry to the bookkeeper.
    pub(super) fn leave(&self, entry: Entry) {
        if let Err(mpsc::error::SendError(entry)) = self.0.send(entry) {
            entry.lost("there is no bookkeeper");
        }
    }
}
