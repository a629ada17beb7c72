//! Settles what nobody waits for: replies that ended or were cut off, and reservations that were dropped.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Tally, UsageError, UserId, ledger::Shared};

/// Further attempts where the store could not do it.
const RETRIES: u32 = 3;
/// The wait before each.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// A hold that is over, and what it used.
pub(super) struct Entry {
    pub(super) user: UserId,
    pub(super) id: String,
    pub(super) used: Tally,
}

impl Entry {
    /// Says what will be missing from the counters. What was set aside for it comes back by itself.
    pub(super) fn lost(&self, why: &str) {
        if !self.used.counted.is_zero() {
            tracing::error!(user = %self.user, used = ?self.used.counted, why, "usage could not be counted");
            metrics::counter!("livos_usage_lost_total").increment(1);
        }
    }
}

/// Settles holds in the background. There are never more entries than there were holds, and holds are bounded.
///
/// Run it beside the handles: it ends by itself when every [`Usage`](super::Usage), hold and meter is gone and everything is settled. Where the store
/// can't do it, it is tried three times more, a second apart: what a server did without answering is then counted twice rather than not at all.
#[must_use = "nothing is settled unless it runs"]
pub struct Bookkeeper {
    shared: Arc<Shared>,
    entries: mpsc::UnboundedReceiver<Entry>,
}

impl Bookkeeper {
    pub(super) fn new(shared: Arc<Shared>, entries: mpsc::UnboundedReceiver<Entry>) -> Self {
        Self { shared, entries }
    }

    /// Works until every handle is gone.
    pub async fn run(mut self) {
        while let Some(entry) = self.entries.recv().await {
            self.enter(&entry).await;
        }
    }

    /// Settles what was left to it so far.
    #[cfg(any(test, feature = "test-util"))]
    pub async fn catch_up(&mut self) {
        while let Ok(entry) = self.entries.try_recv() {
            self.enter(&entry).await;
        }
    }

    async fn enter(&self, entry: &Entry) {
        let mut retries = RETRIES;
        // What was counted must not be counted again because the hold could not be ended.
        let mut counted = entry.used.counted.is_zero();
        loop {
            let done = async {
                if !counted {
                    self.shared.book(&entry.user, entry.used).await?;
                    counted = true;
                }
                self.shared.end(&entry.user, &entry.id).await
            };
            match done.await {
                Ok(()) => return,
                Err(UsageError::Store(error)) if error.is_temporary() && retries > 0 => {
                    tracing::warn!(%error, "usage could not be settled and is tried again");
                    retries -= 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) if counted => {
                    tracing::warn!(%error, "a reservation could not be ended; it ends by itself");
                    return;
                }
                Err(error) => return entry.lost(&error.to_string()),
            }
        }
    }
}

impl std::fmt::Debug for Bookkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bookkeeper").finish_non_exhaustive()
    }
}
