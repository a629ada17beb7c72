//! A place that answers are written into: a chat, a channel, a thread.

use std::time::Duration;

use async_trait::async_trait;

use super::Limit;

/// One conversation's place at a provider. An implementation keeps to the provider's pace by
/// refusing [later](SendError::later), so that the caller can make more of the wait than an old
/// text.
///
/// ```
/// use std::{collections::BTreeMap, sync::Mutex, time::Duration};
///
/// use async_trait::async_trait;
/// use livos_integrations::sender::{Limit, Outlet, SendError, Unit};
///
/// /// A page that lists messages by their key.
/// #[derive(Default)]
/// struct Page(Mutex<BTreeMap<String, String>>);
///
/// #[async_trait]
/// impl Outlet for Page {
///     fn limit(&self) -> Limit {
///         Limit::new(4000, Unit::Utf16)
///     }
///
///     fn gap(&self) -> Duration {
///         Duration::from_secs(1)
///     }
///
///     fn typing_every(&self) -> Duration {
///         Duration::from_secs(5)
///     }
///
///     fn is_idempotent(&self) -> bool {
///         true
///     }
///
///     async fn post(&self, text: &str, key: &str) -> Result<String, SendError> {
///         self.0.lock().unwrap().insert(key.into(), text.into());
///         Ok(key.into())
///     }
///
///     async fn edit(&self, message: &str, text: &str) -> Result<(), SendError> {
///         match self.0.lock().unwrap().get_mut(message) {
///             Some(shown) => Ok(text.clone_into(shown)),
///             None => Err(SendError::gone("the message was removed")),
///         }
///     }
///
///     async fn remove(&self, message: &str) -> Result<(), SendError> {
///         self.0.lock().unwrap().remove(message);
///         Ok(())
///     }
///
///     async fn typing(&self) -> Result<(), SendError> {
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Outlet: Send + Sync {
    /// How long a message may be.
    fn limit(&self) -> Limit;

    /// The least time between two changes of what is shown.
    fn gap(&self) -> Duration;

    /// How often [`Outlet::typing`] must be repeated.
    fn typing_every(&self) -> Duration;

    /// Whether a message that is posted again under its key is the same message.
    fn is_idempotent(&self) -> bool {
        false
    }

    /// Posts a message, and answers what it is edited by. `key` is the same whenever the same
    /// message is posted.
    async fn post(&self, text: &str, key: &str) -> Result<String, SendError>;

    /// Changes a message. One that has this text already is a success.
    async fn edit(&self, message: &str, text: &str) -> Result<(), SendError>;

    /// Takes a message back. One that is not there is a success.
    async fn remove(&self, message: &str) -> Result<(), SendError>;

    /// Shows that somebody is at work.
    async fn typing(&self) -> Result<(), SendError>;
}

/// Something was not written, or perhaps it was.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SendError {
    kind: SendFailure,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFailure {
    /// It was not written; not before this time.
    #[error("nothing may be written for {} s", .0.as_secs_f32())]
    Later(Duration),
    /// It was not written, because the provider could not be reached.
    #[error("the message could not be sent")]
    NotSent,
    /// It may have been written.
    #[error("whether the message was sent is unknown")]
    Unknown,
    /// The place is not there any more, or not for us.
    #[error("nothing can be written there any more")]
    Gone,
    /// It can't be written like this.
    #[error("the message was refused")]
    Refused,
}

impl SendError {
    /// Not before this time; nothing was written.
    pub fn later(wait: Duration) -> Self {
        Self { kind: SendFailure::Later(wait), source: None }
    }

    /// It certainly was not written, and may be tried again.
    pub fn not_sent(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: SendFailure::NotSent, source: Some(source.into()) }
    }

    /// It may have been written.
    pub fn unknown(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: SendFailure::Unknown, source: Some(source.into()) }
    }

    /// The place is not there any more, or not for us.
    pub fn gone(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: SendFailure::Gone, source: Some(source.into()) }
    }

    /// It can't be written like this.
    pub fn refused(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { kind: SendFailure::Refused, source: Some(source.into()) }
    }

    /// What can be done about it.
    pub fn kind(&self) -> SendFailure {
        self.kind
    }
}
