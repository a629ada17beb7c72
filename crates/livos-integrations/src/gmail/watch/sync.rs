//! A look at a mailbox: what came after the cursor is enqueued, and only then the cursor moves.
//!
//! It may be dropped at any await: messages that were enqueued are duplicates the next time, and a
//! cursor that was not moved is moved then. Several processes may look at the same time.

use std::time::Duration;

use livos_core::{
    queue::{Enqueued, Queue, QueueError},
    store::{InvalidKey, Store, StoreError},
    time::{Clock, Timestamp},
};

use super::{
    MailJob, Remaining, Synced, WatchConfig, WatchFailure,
    config::OVERLAP,
    cursor::{Cursor, CursorStore, Move},
};
use crate::gmail::{Gmail, GmailError, GmailErrorKind, HistoryId, MessageRef, PageToken, Search};

/// Pages of history in one look. 20: with five hundred records each that is a busy day, and a push
/// or a renewal does not wait longer for its turn.
const MAX_PAGES: usize = 20;
/// Pages of a full sync. 100: fifty thousand messages, in some minutes.
const MAX_FULL_PAGES: usize = 100;
/// A cursor that does not move is still written this often, so that a full sync knows how far back
/// it must go.
const REFRESH: Duration = Duration::from_secs(3600);

/// A look that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error(transparent)]
    Gmail(#[from] GmailError),
    #[error("a mail could not be enqueued")]
    Queue(#[from] QueueError),
    #[error("the cursor of a mailbox could not be read or moved")]
    Store(#[from] StoreError),
    #[error("the address of a mailbox can't name a key")]
    Account(#[from] InvalidKey),
}

impl SyncError {
    pub fn failure(&self) -> WatchFailure {
        match self {
            Self::Gmail(error) => failure(error),
            Self::Queue(error) if !error.is_temporary() => WatchFailure::Lasting,
            Self::Store(error) if !error.is_temporary() => WatchFailure::Lasting,
            Self::Account(_) => WatchFailure::Lasting,
            Self::Queue(_) | Self::Store(_) => WatchFailure::Temporary { retry_after: None },
        }
    }
}

/// What a failed call means to the watch.
pub(super) fn failure(error: &GmailError) -> WatchFailure {
    match error.kind() {
        GmailErrorKind::TokenDead => WatchFailure::TokenDead,
        GmailErrorKind::RateLimited | GmailErrorKind::Unavailable | GmailErrorKind::Unreadable => {
            WatchFailure::Temporary { retry_after: error.retry_after() }
        }
        _ => WatchFailure::Lasting,
    }
}

/// Looks at one mailbox.
pub(super) struct Look<'a> {
    pub gmail: &'a Gmail,
    pub queue: &'a dyn Queue,
    pub store: &'a dyn Store,
    pub clock: &'a dyn Clock,
    pub config: &'a WatchConfig,
    pub account: &'a str,
}

/// Jobs that were made, or that the queue is full.
#[derive(Default)]
struct Taken {
    new: usize,
    full: bool,
}

impl Look<'_> {
    pub async fn look(&self) -> Result<Synced, SyncError> {
        let cursors = CursorStore::new(self.store, self.account)?;
        let now = self.clock.now();
        let Some(cursor) = cursors.load(now).await? else { return self.begin(&cursors, now).await };
        match self.history(&cursors, cursor, now).await {
            Err(SyncError::Gmail(error)) if error.is_not_found() => {
                tracing::warn!(
                    account = self.account,
                    "the history of a mailbox is gone; all of it is looked through"
                );
                metrics::counter!("livos_gmail_full_syncs_total").increment(1);
                self.full(&cursors, cursor, now).await
            }
            looked => looked,
        }
    }

    /// The first look: what is there already is nobody's job.
    async fn begin(&self, cursors: &CursorStore<'_>, now: Timestamp) -> Result<Synced, SyncError> {
        let profile = self.gmail.profile().await?;
        let cursor = Cursor { history_id: profile.history_id, synced_at: now, began_at: now };
        let cursor = cursors.save(now, cursor, Move::On).await?;
        Ok(Synced { cursor: cursor.history_id, new: 0, rest: Remaining::Nothing, skipped: false })
    }

    /// What the history tells since the cursor. The pages of one list belong to the place that it
    /// began from; the cursor moves on behind them.
    async fn history(
        &self,
        cursors: &CursorStore<'_>,
        cursor: Cursor,
        now: Timestamp,
    ) -> Result<Synced, SyncError> {
        let (start, label) = (cursor.history_id, self.config.label.as_ref());
        let (mut at, mut new, mut page): (HistoryId, usize, Option<PageToken>) = (start, 0, None);
        for _ in 0..MAX_PAGES {
            let listed = self.gmail.history(start, label, page.as_ref()).await?;
            let taken = self.enqueue(&listed.added).await?;
            new += taken.new;
            if taken.full {
                return Ok(Synced { cursor: at, new, rest: Remaining::QueueFull, skipped: false });
            }
            let last = listed.next.is_none();
            let reached = if last { Some(listed.now) } else { listed.through };
            let reached = reached.unwrap_or(at).max(at);
            if reached > at || last && now.since(cursor.synced_at) >= REFRESH {
                let synced_at = if last { now } else { cursor.synced_at };
                let moved = Cursor { history_id: reached, synced_at, ..cursor };
                at = cursors.save(now, moved, Move::On).await?.history_id;
            }
            page = listed.next;
            if last {
                return Ok(Synced { cursor: at, new, rest: Remaining::Nothing, skipped: false });
            }
        }
        // Pages that lead nowhere are not asked for again at once.
        let rest = if at > start { Remaining::More } else { Remaining::Nothing };
        Ok(Synced { cursor: at, new, rest, skipped: false })
    }

    /// Everything since the mailbox was last known to be read, where the history does not reach
    /// back so far.
    async fn full(
        &self,
        cursors: &CursorStore<'_>,
        cursor: Cursor,
        now: Timestamp,
    ) -> Result<Synced, SyncError> {
        // Taken before the list, so that nothing falls between the two.
        let profile = self.gmail.profile().await?;
        let milliseconds = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let earlier =
            |time: Timestamp, by| Timestamp::from_unix_ms(time.unix_ms().saturating_sub(milliseconds(by)));
        let (wanted, furthest) = (earlier(cursor.synced_at, OVERLAP), earlier(now, self.config.lookback));
        let since = wanted.max(furthest).max(cursor.began_at);
        let mut search = Search::new(format!("after:{}", since.unix_ms().div_euclid(1000))).with_most(500);
        search.labels.extend(self.config.label.clone());
        let (mut new, mut page) = (0, None);
        for _ in 0..MAX_FULL_PAGES {
            let found = self.gmail.search(&search, page.as_ref()).await?;
            let taken = self.enqueue(&found.messages).await?;
            new += taken.new;
            if taken.full {
                return Ok(Synced {
                    cursor: cursor.history_id,
                    new,
                    rest: Remaining::QueueFull,
                    skipped: false,
                });
            }
            page = found.next;
            if page.is_none() {
                break;
            }
        }
        let skipped = page.is_some() || furthest > cursor.synced_at;
        let cursor = Cursor { history_id: profile.history_id, synced_at: now, ..cursor };
        let cursor = cursors.save(now, cursor, Move::To).await?;
        Ok(Synced { cursor: cursor.history_id, new, rest: Remaining::Nothing, skipped })
    }

    /// In the order of the list: a history tells the oldest first, a search the newest.
    async fn enqueue(&self, messages: &[MessageRef]) -> Result<Taken, SyncError> {
        let mut taken = Taken::default();
        for message in messages {
            let job = MailJob::new(self.account, message).enqueued(self.config.remembered);
            match self.queue.enqueue(self.clock.now(), job).await? {
                Enqueued::Enqueued(_) | Enqueued::Spilled => {
                    metrics::counter!("livos_gmail_messages_total").increment(1);
                    taken.new += 1;
                }
                Enqueued::Duplicate(_) => {}
                Enqueued::Full { .. } => return Ok(Taken { full: true, ..taken }),
            }
        }
        Ok(taken)
    }
}
