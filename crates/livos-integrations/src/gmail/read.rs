//! What is read from a mailbox.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use super::{AttachmentId, Content, Draft, HistoryId, LabelId, Mailbox, MessageId, ReplyTo, ThreadId};

/// A message by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageRef {
    /// The message.
    pub id: MessageId,
    /// Its conversation.
    pub thread: ThreadId,
}

/// Whose mailbox it is, and where its history stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The address.
    pub address: String,
    /// The last place of the history.
    pub history_id: HistoryId,
}

/// A watch, as Gmail confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    /// When it ends unless it is renewed.
    pub expires_at: Timestamp,
    /// Where the history stood. It is no cursor where there is one: what happened between the two
    /// would be lost.
    pub history_id: HistoryId,
}

/// The next page of a list. Good for the list that it came with, for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub(super) String);

/// One page of what happened after a place in the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Messages that came or were moved here, oldest first. One may come several times, and be gone
    /// by now.
    pub added: Vec<MessageRef>,
    /// The last place that this page tells of; none where it tells of nothing.
    pub through: Option<HistoryId>,
    /// Where the mailbox stands. A cursor may go there only once the last page was dealt with.
    pub now: HistoryId,
    /// More, where there is more.
    pub next: Option<PageToken>,
}

/// One page of a search, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What was found.
    pub messages: Vec<MessageRef>,
    /// More, where there is more.
    pub next: Option<PageToken>,
}

/// What is searched for.
///
/// ```
/// use livos_integrations::gmail::{LabelId, Search};
///
/// let search = Search::new("from:anna has:attachment newer_than:7d").with_label(LabelId::inbox()).with_most(20);
/// assert_eq!(search.most, 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search {
    /// In the words of Gmail's own search box; everything where it is empty.
    pub query: String,
    /// Labels that a message must have.
    pub labels: Vec<LabelId>,
    /// Messages on one page, 1 to 500. 100.
    pub most: usize,
}

impl Search {
    /// The longest query, in bytes. 2,048: it stands in the address of a request.
    pub const MAX_QUERY: usize = 2048;

    /// Everything that the query finds, outside of spam and trash.
    pub fn new(query: impl Into<String>) -> Self {
        Self { query: query.into(), labels: Vec::new(), most: 100 }
    }

    /// Of this label too.
    #[must_use]
    pub fn with_label(mut self, label: LabelId) -> Self {
        self.labels.push(label);
        self
    }

    /// So many on a page.
    #[must_use]
    pub fn with_most(mut self, most: usize) -> Self {
        self.most = most.clamp(1, 500);
        self
    }
}

/// A message with what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The message.
    pub id: MessageId,
    /// Its conversation.
    pub thread: ThreadId,
    /// Its labels.
    pub labels: Vec<LabelId>,
    /// When Gmail got it.
    pub received_at: Timestamp,
    /// The beginning of its text, as Gmail cut it.
    pub snippet: String,
    /// What it says.
    pub content: Content,
}

impl Mail {
    /// An answer to it, in its conversation. `own` is the address of the mailbox that answers. See
    /// [`Draft::reply`].
    pub fn reply(&self, text: impl Into<String>, whom: ReplyTo, own: &str) -> Draft {
        Draft::reply(&self.content, Some(&self.thread), text, whom, own)
    }
}

/// A message in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The message.
    pub id: MessageId,
    /// Its conversation.
    pub thread: ThreadId,
    /// Its labels.
    pub labels: Vec<LabelId>,
    /// When Gmail got it.
    pub received_at: Timestamp,
    /// The beginning of its text.
    pub snippet: String,
    /// Who says to have written it.
    pub from: Option<Mailbox>,
    /// The subject, on one line.
    pub subject: String,
}

/// An attachment that may be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachmentInfo {
    /// To fetch it with, soon.
    pub id: AttachmentId,
    /// The file's name as the sender wrote it. It is no path.
    pub name: String,
    /// The type that the sender says it has.
    pub mime_type: String,
    /// Its size in bytes, as Gmail says.
    pub size: usize,
}

/// A label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// By which it is put on.
    pub id: LabelId,
    /// What people call it.
    pub name: String,
}
