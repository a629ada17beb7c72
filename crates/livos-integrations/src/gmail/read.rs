//! What the client reads from a mailbox, besides the contents of mails.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;

use super::{AttachmentId, Content, HistoryId, LabelId, MailDraft, Mailbox, MessageId, ReplyTo, ThreadId};

/// The ids of a message and of its conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageRef {
    /// The id that [`super::Gmail::read`] takes.
    pub id: MessageId,
    /// The id of its conversation.
    pub thread: ThreadId,
}

/// The address of a mailbox and the current end of its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// The primary address of the account.
    pub address: String,
    /// The last record of the history.
    pub history_id: HistoryId,
}

/// A watch, as Gmail confirmed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Armed {
    /// When the watch ends unless it is renewed.
    pub expires_at: Timestamp,
    /// The end of the history when the watch was armed. Never replace an existing cursor by it: the
    /// changes between the two would be lost.
    pub history_id: HistoryId,
}

/// The next page of a list. It is valid for that list only, and for a limited time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageToken(pub(super) String);

/// One page of the history after a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// Messages that came or were moved here, oldest first. One may come several times, and be gone
    /// by now.
    pub added: Vec<MessageRef>,
    /// The last record on this page; `None` if it has no records.
    pub through: Option<HistoryId>,
    /// The end of the history. The cursor may move there only after the last page was processed.
    pub now: HistoryId,
    /// The next page, if there is one.
    pub next: Option<PageToken>,
}

/// One page of a search, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The messages that match.
    pub messages: Vec<MessageRef>,
    /// The next page, if there is one.
    pub next: Option<PageToken>,
}

/// A search in the mailbox.
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
    /// The query, in the language of Gmail's search box. Empty for all mail.
    pub query: String,
    /// Labels that a message must have, all of them.
    pub labels: Vec<LabelId>,
    /// Messages on one page, 1 to 500. 100.
    pub most: usize,
}

impl Search {
    /// The longest query, in bytes. 2,048: it is part of the URL of a request.
    pub const MAX_QUERY: usize = 2048;

    /// All messages that match a query, except spam and trash.
    pub fn new(query: impl Into<String>) -> Self {
        Self { query: query.into(), labels: Vec::new(), most: 100 }
    }

    /// Requires one more label.
    #[must_use]
    pub fn with_label(mut self, label: LabelId) -> Self {
        self.labels.push(label);
        self
    }

    /// Sets the page size, clamped to 1 to 500.
    #[must_use]
    pub fn with_most(mut self, most: usize) -> Self {
        self.most = most.clamp(1, 500);
        self
    }
}

/// A message with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mail {
    /// The id of the message.
    pub id: MessageId,
    /// The id of its conversation.
    pub thread: ThreadId,
    /// The labels at the time of reading.
    pub labels: Vec<LabelId>,
    /// When Gmail received the message.
    pub received_at: Timestamp,
    /// The beginning of the text, as Gmail shortened it.
    pub snippet: String,
    /// The headers, the text and the attachments.
    pub content: Content,
}

impl Mail {
    /// An answer in the same conversation. `own` is the address of the answering mailbox. See
    /// [`MailDraft::reply`].
    pub fn reply(&self, text: impl Into<String>, whom: ReplyTo, own: &str) -> MailDraft {
        MailDraft::reply(&self.content, Some(&self.thread), text, whom, own)
    }
}

/// A message as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// The id of the message.
    pub id: MessageId,
    /// The id of its conversation.
    pub thread: ThreadId,
    /// The labels at the time of reading.
    pub labels: Vec<LabelId>,
    /// When Gmail received the message.
    pub received_at: Timestamp,
    /// The beginning of the text, as Gmail shortened it.
    pub snippet: String,
    /// The claimed author.
    pub from: Option<Mailbox>,
    /// The subject, on one line.
    pub subject: String,
}

/// An attachment that was not fetched yet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachmentInfo {
    /// The id to fetch it with. Gmail gives out another one at each reading.
    pub id: AttachmentId,
    /// The file name that the sender chose. Never use it as a path.
    pub name: String,
    /// The type that the sender claims.
    pub mime_type: String,
    /// The size in bytes, as Gmail reports it.
    pub size: usize,
}

/// A label of the mailbox, made by Gmail or by the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The id that requests use.
    pub id: LabelId,
    /// The name that people see.
    pub name: String,
}
