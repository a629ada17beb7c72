//! Models of any provider, behind one trait.

#[cfg(feature = "anthropic")]
pub mod anthropic;
#[cfg(feature = "usage")]
mod metered;

use std::pin::Pin;

use futures_core::Stream;
use livos_core::{
    conversation::{Channel, Finish, ReplyError, TokenUsage},
    user::UserId,
};

#[cfg(feature = "usage")]
pub use self::metered::{Metered, MeteredConfig};
use crate::message::Message;

/// The stream of one answer. Dropping it cancels the request and closes its connection or stream.
pub type ModelStream = Pin<Box<dyn Stream<Item = Result<ModelEvent, ReplyError>> + Send>>;

/// Answers requests. Implementations hold their connection and are shared.
///
/// ```
/// use futures_util::stream;
/// use livos_agent::model::{Model, ModelEvent, ModelRequest, ModelStream};
/// use livos_agent::{Agent, AgentConfig};
/// use livos_core::conversation::Finish;
///
/// /// Tells how long the conversation is.
/// struct Count;
///
/// impl Model for Count {
///     fn answer(&self, request: ModelRequest) -> ModelStream {
///         let text = format!("You sent {} messages.", request.messages.len());
///         let events = [ModelEvent::Text(text), ModelEvent::Finished(Finish::Complete)];
///         Box::pin(stream::iter(events.map(Ok)))
///     }
/// }
///
/// let agent = Agent::new(Count, AgentConfig::default());
/// # let _ = agent;
/// ```
pub trait Model: Send + Sync + 'static {
    /// Begins an answer. Nothing is sent before the stream is first polled. An error ends the
    /// stream; a stream that ends without [`ModelEvent::Finished`] is never passed on as an answer
    /// but ends in an error.
    fn answer(&self, request: ModelRequest) -> ModelStream;
}

impl<M: Model + ?Sized> Model for std::sync::Arc<M> {
    fn answer(&self, request: ModelRequest) -> ModelStream {
        (**self).answer(request)
    }
}

/// What a model is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelRequest {
    /// The conversation; the last message is the user's.
    pub messages: Vec<Message>,
    /// How the answer will be given: a voice answer has no time to think aloud.
    pub channel: Channel,
    /// Whose usage the answer is booked as.
    pub payer: UserId,
}

impl ModelRequest {
    /// A request whose answer is booked as the usage of `payer`.
    pub fn new(messages: Vec<Message>, channel: Channel, payer: UserId) -> Self {
        Self { messages, channel, payer }
    }
}

/// One event of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelEvent {
    /// More text, to be joined verbatim.
    Text(String),
    /// What it has cost so far.
    Usage(TokenUsage),
    /// The answer is over.
    Finished(Finish),
}
