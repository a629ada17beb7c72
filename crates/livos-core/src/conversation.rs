//! What somebody said, and the stream that answers: the two values that let the crates of the star
//! compose.
//!
//! [`Inbound`] and [`Reply`] are to LivOS what `http::Request` and `http::Response` are to
//! tower-http: an agent is a `tower::Service<Inbound, Response = Reply>`, and the voice pipeline, a
//! chat endpoint and a queue worker all take any such service without knowing who implements it.
//!
//! A reply is *provisional* until [`Reply::commit`]. Speculation may call the responder before the
//! user's turn is sure to have ended; a provisional reply that is dropped leaves nothing in the
//! history. What reached the listener is told with [`Reply::heard`], so that the history holds what
//! was heard and not what was generated.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;

use crate::user::UserId;

/// Names one conversation across processes and restarts.
///
/// One to 128 ASCII letters, digits, or `-`, `_`, `.`, `:`; anything else is refused, so that an id
/// can stand in a store key, a log line or a URL without escaping.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConversationId(Arc<str>);

/// The text is not a valid [`ConversationId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a conversation id is 1 to 128 ASCII letters, digits, '-', '_', '.' or ':'")]
pub struct InvalidConversationId(());

impl ConversationId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for ConversationId {
    type Error = InvalidConversationId;

    fn try_from(text: &str) -> Result<Self, InvalidConversationId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            return Err(InvalidConversationId(()));
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConversationId({})", self.0)
    }
}

/// The way a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Channel {
    /// Spoken, and answered aloud: replies should be short and free of markup.
    Voice,
    /// Typed: in the web client, at the chat endpoint, or in a chat app.
    Chat,
}

/// Who speaks. Set from the server's own state (session, pairing), never from the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Speaker {
    /// The operator of this deployment.
    Owner,
    /// Somebody the owner has paired.
    Paired,
    /// A member of a group the agent is in; trusted with nothing.
    GroupMember,
}

/// Somebody said something in a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inbound {
    /// The conversation it belongs to.
    pub conversation: ConversationId,
    /// How it came in.
    pub channel: Channel,
    /// Who said it.
    pub speaker: Speaker,
    /// Whose usage the answer is booked as. Set from the server's own state, like the speaker.
    pub payer: UserId,
    /// What the speaker said.
    pub text: String,
    /// Text that came along and that nobody in the conversation wrote (a forwarded mail, a page):
    /// data, never instructions.
    pub untrusted: Vec<String>,
}

impl Inbound {
    /// A message with no untrusted text. Who speaks and who pays have no default: a channel that
    /// forgot either would grant a stranger the owner's rights, or charge the owner.
    pub fn new(
        conversation: ConversationId,
        channel: Channel,
        speaker: Speaker,
        payer: UserId,
        text: impl Into<String>,
    ) -> Self {
        Self { conversation, channel, speaker, payer, text: text.into(), untrusted: Vec::new() }
    }
}

/// Tokens one reply cost, as the provider reported them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenUsage {
    /// Tokens read that were in no cache.
    pub input: u64,
    /// Tokens written to the provider's prompt cache.
    pub cache_write: u64,
    /// Tokens read from the provider's prompt cache.
    pub cache_read: u64,
    /// Tokens generated.
    pub output: u64,
    /// True while a figure is our own estimate (a cancelled stream never reports its final usage).
    pub estimated: bool,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finish {
    /// The answer is whole.
    Complete,
    /// It reached its length limit.
    Length,
    /// The model declined to answer.
    Refused,
}

/// One event of a [`Reply`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyEvent {
    /// More text of the answer, to be joined verbatim to what came before.
    Text(String),
    /// What the answer has cost so far; a later one replaces an earlier one.
    Usage(TokenUsage),
    /// The last event.
    Finished(Finish),
}

/// A reply failed. Branch on [`ReplyErrorKind`]; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReplyError {
    kind: ReplyErrorKind,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about a failed reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyErrorKind {
    /// The provider is overloaded or limits us; see [`ReplyError::retry_after`].
    Busy,
    /// The provider could not be reached, or the stream broke.
    Unavailable,
    /// The request itself was refused: the same request will be refused again.
    Rejected,
    /// Our key was refused: every request fails until the operator mends it.
    Unauthorized,
    /// A limit of our own (budget, time) was reached.
    Limit,
}

impl ReplyErrorKind {
    /// Whether the failure says nothing about this message: it may be answered once a provider, a
    /// key or a budget is back.
    pub fn is_outage(self) -> bool {
        !matches!(self, Self::Rejected)
    }
}

impl ReplyError {
    /// A failure of `kind`, in a lowercase sentence that names what failed and whose side it was.
    pub fn new(kind: ReplyErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None, source: None }
    }

    /// Adds the cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds how long the provider asked us to wait.
    pub fn with_retry_after(mut self, after: Option<Duration>) -> Self {
        self.retry_after = after;
        self
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ReplyErrorKind {
        self.kind
    }

    /// How long the provider asked us to wait, where it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

/// What reached the listener (or reader) of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The words that were played or shown, from the beginning.
    pub text: String,
    /// False when the reply was interrupted before its end.
    pub complete: bool,
}

/// The responder's side of a [`Reply`]: it is told what became of the reply. Dropping it cancels
/// whatever still runs.
///
/// `()` is the control of a responder that keeps no history.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use livos_core::conversation::{Heard, ReplyControl};
///
/// /// Appends what was heard to a history, once the turn is sure.
/// struct Remember {
///     history: Arc<Mutex<Vec<String>>>,
///     committed: bool,
/// }
///
/// impl ReplyControl for Remember {
///     fn commit(&mut self) {
///         self.committed = true;
///     }
///
///     fn heard(&mut self, heard: Heard) {
///         if self.committed {
///             self.history.lock().unwrap().push(heard.text);
///         }
///     }
/// }
/// ```
pub trait ReplyControl: Send {
    /// The turn is sure: the message may enter the history, and tools with effects may run. Called
    /// at most once.
    fn commit(&mut self);
    /// What the listener heard; called at most once, after `commit`. A committed reply that is
    /// dropped without it was not heard at all.
    fn heard(&mut self, heard: Heard);
}

impl ReplyControl for () {
    fn commit(&mut self) {}
    fn heard(&mut self, _: Heard) {}
}

type EventStream = Pin<Box<dyn Stream<Item = Result<ReplyEvent, ReplyError>> + Send>>;

/// The answer to an [`Inbound`]: a stream of [`ReplyEvent`]s with a handle on its fate.
///
/// Dropping the reply cancels it: the model's stream is closed and, unless it was committed,
/// nothing is remembered. After an error or [`ReplyEvent::Finished`] the stream ends.
pub struct Reply {
    events: EventStream,
    control: Box<dyn ReplyControl>,
}

impl Reply {
    /// A reply from its events and the responder's side of it.
    pub fn new(
        events: impl Stream<Item = Result<ReplyEvent, ReplyError>> + Send + 'static,
        control: impl ReplyControl + 'static,
    ) -> Self {
        Self { events: Box::pin(events), control: Box::new(control) }
    }

    /// A whole answer that is known beforehand, of which nothing is remembered.
    ///
    /// ```
    /// use futures_util::StreamExt;
    /// use livos_core::conversation::{Finish, Reply, ReplyEvent};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let events: Vec<_> = Reply::from_text("Not today.").map(Result::unwrap).collect().await;
    /// assert_eq!(
    ///     events,
    ///     [ReplyEvent::Text("Not today.".into()), ReplyEvent::Finished(Finish::Complete)]
    /// );
    /// # }
    /// ```
    pub fn from_text(text: impl Into<String>) -> Self {
        let events = [ReplyEvent::Text(text.into()), ReplyEvent::Finished(Finish::Complete)];
        Self::new(Known(events.into_iter()), ())
    }

    /// Makes the reply final; see [`ReplyControl::commit`].
    pub fn commit(&mut self) {
        self.control.commit();
    }

    /// Tells what the listener heard; see [`ReplyControl::heard`].
    pub fn heard(&mut self, heard: Heard) {
        self.control.heard(heard);
    }
}

/// Events that are all known.
struct Known(std::array::IntoIter<ReplyEvent, 2>);

impl Stream for Known {
    type Item = Result<ReplyEvent, ReplyError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next().map(Ok))
    }
}

impl Stream for Reply {
    type Item = Result<ReplyEvent, ReplyError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_with_other_characters_is_refused() {
        for bad in ["", "a b", "a/b", "a\n", "é", &"x".repeat(129)] {
            assert!(ConversationId::try_from(bad).is_err(), "{bad:?}");
        }
        assert_eq!(ConversationId::try_from("web:2026-01_a.b").unwrap().as_str(), "web:2026-01_a.b");
    }
}
