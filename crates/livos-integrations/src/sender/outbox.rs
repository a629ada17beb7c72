//! What of an answer is written down, so that a crash neither loses it nor says it twice.
//!
//! A provider that can't recognise a repeated message leaves one question open after a crash: was
//! the message that was being posted posted? It was written down that it is being posted, and it is
//! not posted again: of two faults a message too few is the smaller one, and the answer stands in
//! the history. A message of an answer that was not whole yet is posted again, because it was no
//! answer.

use std::{fmt, sync::Arc, time::Duration};

use livos_core::{
    store::{Family, InvalidKey, Key, Lifetime, MAX_VALUE, Store, StoreError},
    time::Clock,
};
use serde::{Deserialize, Serialize};

/// What the outbox keeps in the store, for the janitor and the documentation.
pub const FAMILIES: [Family; 1] = [ANSWERS];

const ANSWERS: Family = Family::new(
    "outbox",
    "answer",
    // Longer than a job is tried.
    Lifetime::For(Duration::from_secs(2 * 86_400)),
    "answers on their way out, and what of them was posted",
);

/// The longest answer, in bytes: with its escapes it fits into a value of the store. What is longer
/// is cut off.
pub(super) const MAX_ANSWER: usize = MAX_VALUE / 8;

/// Keeps answers on their way, in a store.
#[derive(Clone)]
pub struct Outbox {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl Outbox {
    /// An outbox in this store.
    pub fn new(store: Arc<dyn Store>, clock: impl Clock + 'static) -> Self {
        Self { store, clock: Arc::new(clock) }
    }

    /// The answer of this name, as far as it came.
    pub(super) async fn open(&self, name: &str) -> Result<Entry, OutboxError> {
        let key = ANSWERS.key(name)?;
        let stored = self.store.get(self.clock.now(), &key).await?;
        let record = stored.and_then(|stored| serde_json::from_slice(&stored.value).ok()).unwrap_or_default();
        Ok(Entry { outbox: self.clone(), key, record })
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").finish_non_exhaustive()
    }
}

/// The outbox failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// The name is not one.
    #[error("an answer on its way has a name that is none")]
    Name(#[from] InvalidKey),
    /// The store failed.
    #[error("an answer on its way could not be written down")]
    Store(#[from] StoreError),
}

/// What is written down of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Record {
    /// The whole of it, once it is whole.
    answer: Option<String>,
    /// What the messages are edited by that were posted; nothing where that is unknown.
    posted: Vec<Option<String>>,
    /// Whether the next message is being posted.
    posting: bool,
}

/// An answer on its way.
#[derive(Debug)]
pub(super) struct Entry {
    outbox: Outbox,
    key: Key,
    record: Record,
}

impl Entry {
    /// The whole answer, where an earlier attempt came so far.
    pub(super) fn answer(&self) -> Option<&str> {
        self.record.answer.as_deref()
    }

    /// How many messages were posted.
    pub(super) fn posted(&self) -> usize {
        self.record.posted.len()
    }

    /// What a message is edited by; none where that is unknown.
    pub(super) fn message(&self, part: usize) -> Option<&str> {
        self.record.posted.get(part)?.as_deref()
    }

    /// Decides about a message that was being posted when an earlier attempt ended. `repeats` says
    /// that posting it again does no harm.
    pub(super) fn settle(&mut self, repeats: bool) {
        if std::mem::take(&mut self.record.posting) && !repeats && self.record.answer.is_some() {
            tracing::warn!(key = %self.key, "whether a message was posted is unknown, and it is not posted again");
            self.record.posted.push(None);
        }
    }

    pub(super) async fn finish(&mut self, answer: &str) -> Result<(), OutboxError> {
        self.record.answer = Some(answer.to_owned());
        self.save().await
    }

    pub(super) async fn posting(&mut self) -> Result<(), OutboxError> {
        self.record.posting = true;
        self.save().await
    }

    /// The message was posted, was not, or nobody knows.
    pub(super) async fn posted_as(&mut self, message: Option<String>) -> Result<(), OutboxError> {
        self.record.posting = false;
        self.record.posted.push(message);
        self.save().await
    }

    pub(super) async fn not_posted(&mut self) -> Result<(), OutboxError> {
        self.record.posting = false;
        self.save().await
    }

    pub(super) async fn removed(&mut self) -> Result<(), OutboxError> {
        self.record.posted.pop();
        self.save().await
    }

    async fn save(&self) -> Result<(), OutboxError> {
        let value = serde_json::to_vec(&self.record).unwrap_or_default();
        self.outbox.store.put(self.outbox.clock.now(), &self.key, value.into()).await?;
        Ok(())
    }
}
