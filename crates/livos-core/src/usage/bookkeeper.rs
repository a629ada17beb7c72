//! Does what nobody waits for: settles replies that ended or were cut off, releases reservations
//! that were dropped, reserves ahead.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Tally, UsageError, entry::Entry, ledger::Shared};
use crate::user::UserId;

/// Further attempts where the store could not do it.
const RETRIES: u32 = 3;
/// The wait before each.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Settles holds in the background, and makes those that are reserved ahead. Entries are few: one
/// or two for a hold, and holds are bounded.
///
/// Run it in a task of its own: it ends by itself when every [`Usage`](super::Usage), hold and
/// meter is gone and everything is settled. Where the store can't do it, it is tried three times
/// more, a second apart: what a server did without answering is then counted twice rather than not
/// at all.
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
            self.enter(entry).await;
        }
    }

    /// Does what was left to it so far.
    #[cfg(any(test, feature = "test-util"))]
    pub async fn catch_up(&mut self) {
        while let Ok(entry) = self.entries.try_recv() {
            self.enter(entry).await;
        }
    }

    async fn enter(&self, entry: Entry) {
        match entry {
            Entry::Ahead(work) => work.await,
            Entry::Over { ref user, ref id, used } => {
                if let Err(error) = self.settle(user, id, used).await {
                    entry.lost(&error.to_string());
                }
            }
        }
    }

    /// Settles, again where that may help. What was counted is not counted again because the hold
    /// could not be ended, and that is no error then.
    async fn settle(&self, user: &UserId, id: &str, used: Tally) -> Result<(), UsageError> {
        let (mut retries, mut counted) = (RETRIES, used.counted.is_zero());
        loop {
            let done = async {
                if !counted {
                    self.shared.book(user, used).await?;
                    counted = true;
                }
                self.shared.end(user, id).await
            };
            match done.await {
                Err(UsageError::Store(error)) if error.is_temporary() && retries > 0 => {
                    tracing::warn!(%error, "usage could not be settled and is tried again");
                    retries -= 1;
                    tokio::time::sleep(RETRY_DELAY).await;
                }
                Err(error) if counted => {
                    tracing::warn!(%error, "a reservation could not be ended; it ends by itself");
                    return Ok(());
                }
                done => return done,
            }
        }
    }
}

impl std::fmt::Debug for Bookkeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bookkeeper").finish_non_exhaustive()
    }
}
