//! How far a mailbox was read: the one place that pushes, polls and full syncs go on from.

use bytes::Bytes;
use livos_core::{
    store::{Entry, Family, InvalidKey, Key, Lifetime, Put, Store, StoreError},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::gmail::HistoryId;

pub(super) const FAMILY: Family = Family::new(
    "gmail",
    "cursor",
    Lifetime::Forever { reason: "a mailbox whose cursor is lost has a gap" },
    "how far the history of a mailbox became jobs",
);

/// How far a mailbox was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Everything up to here was enqueued.
    pub history_id: HistoryId,
    /// When that was last known to be all there was.
    pub synced_at: Timestamp,
    /// When the mailbox was first looked at. Older mail is nobody's job.
    pub began_at: Timestamp,
}

/// The cursor of one mailbox in the store.
pub(super) struct CursorStore<'a> {
    pub store: &'a dyn Store,
    pub key: Key,
}

/// Whether a cursor may only go on, or to where it is put.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    /// Only on: another process may be further already.
    On,
    /// To where it is put, be it back: after a full sync, the old place means nothing any more.
    To,
}

impl<'a> CursorStore<'a> {
    pub fn new(store: &'a dyn Store, account: &str) -> Result<Self, InvalidKey> {
        Ok(Self { store, key: FAMILY.key(account)? })
    }

    /// The stored cursor, if any. A cursor that can't be read is logged and counts as none, so the
    /// watch starts over.
    pub async fn load(&self, now: Timestamp) -> Result<Option<Cursor>, StoreError> {
        let entry = self.store.get(now, &self.key).await?;
        Ok(entry.as_ref().and_then(|entry| self.read(entry)))
    }

    /// Moves the cursor, and answers where it stands then.
    pub async fn save(&self, now: Timestamp, cursor: Cursor, how: Move) -> Result<Cursor, StoreError> {
        loop {
            let entry = self.store.get(now, &self.key).await?;
            let stored = entry.as_ref().and_then(|entry| self.read(entry));
            if let Some(stored) =
                stored.filter(|stored| how == Move::On && stored.history_id > cursor.history_id)
            {
                return Ok(stored);
            }
            let value = serde_json::json!({
                "history_id": cursor.history_id, "synced_at": cursor.synced_at, "began_at": cursor.began_at,
            });
            let value = Bytes::from(value.to_string());
            let version = entry.map(|entry| entry.version);
            // Somebody else moved it meanwhile: where it is further, it stays.
            if let Put::Written(_) = self.store.put_if(now, &self.key, value, version).await? {
                return Ok(cursor);
            }
        }
    }

    fn read(&self, entry: &Entry) -> Option<Cursor> {
        let read = serde_json::from_slice(&entry.value);
        read.inspect_err(
            |error| tracing::error!(key = %self.key, %error, "the cursor of a mailbox can't be read"),
        )
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use livos_core::{
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

    fn at(id: u64) -> Cursor {
        Cursor { history_id: HistoryId(id), synced_at: NOW, began_at: NOW }
    }

    #[tokio::test]
    async fn a_cursor_goes_on_and_never_back_unless_it_is_put() {
        let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap());
        let cursor = CursorStore::new(&store, "a@b.c").unwrap();
        assert_eq!(cursor.load(NOW).await.unwrap(), None);
        for (id, how, stands) in
            [(5, Move::On, 5), (9, Move::On, 9), (7, Move::On, 9), (3, Move::To, 3), (4, Move::On, 4)]
        {
            assert_eq!(cursor.save(NOW, at(id), how).await.unwrap(), at(stands), "{id}");
            assert_eq!(cursor.load(NOW).await.unwrap(), Some(at(stands)));
        }
        store.put(NOW, &cursor.key, Bytes::from_static(b"{}")).await.unwrap();
        assert_eq!(cursor.load(NOW).await.unwrap(), None);
    }
}
