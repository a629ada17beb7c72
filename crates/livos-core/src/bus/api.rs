//! What every bus can do, and its bounds.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Subscription, Topic};

/// The longest payload, in bytes. 64 KiB: an event says where to look.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The bounds of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusConfig {
    /// Messages that may wait for one subscriber. 256: seconds of a busy server; a subscriber that
    /// is further behind should read the state once.
    pub backlog: usize,
    /// Subscriptions at one time. 1024: more is a leak, or a bus that is used as a queue.
    pub subscriptions: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { backlog: 256, subscriptions: 1024 }
    }
}

impl BusConfig {
    /// This many messages may wait for one subscriber; at least one.
    #[must_use]
    pub fn with_backlog(mut self, messages: usize) -> Self {
        self.backlog = messages.max(1);
        self
    }

    /// At most this many subscriptions at one time.
    #[must_use]
    pub fn with_subscriptions(mut self, subscriptions: usize) -> Self {
        self.subscriptions = subscriptions;
        self
    }
}

/// Publishes and subscribes. Cheap to share.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends to all current subscribers of the topic. An answer says that the bus took the event,
    /// not that anybody heard it.
    ///
    /// May be cancelled; what was sent by then may still be delivered.
    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<(), BusError>;

    /// Listens to these topics. The first event is [`Gap::Began`](super::Gap::Began): it comes once
    /// the bus is listening, which may take as long as the server is away, so a subscriber that
    /// reads the state then misses nothing.
    fn subscribe(&self, topics: &[Topic]) -> Result<Subscription, BusError>;
}

/// Why a call of the bus failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("an event of {0} bytes is longer than the {MAX_PAYLOAD} that the bus takes")]
    TooLarge(usize),
    /// A subscription without topics would never hear anything.
    #[error("a subscription needs a topic")]
    NoTopic,
    /// All allowed subscriptions are open; there are this many.
    #[error("the bus has {0} subscriptions, which is as many as may be")]
    Full(usize),
    /// The server failed. Whether the event was sent is unknown.
    #[cfg(feature = "redis")]
    #[error("the bus in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl BusError {
    /// Whether the same call may succeed later although nothing is changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooLarge(_) | Self::NoTopic => false,
            Self::Full(_) => true,
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.is_temporary(),
        }
    }
}

pub(super) fn check_payload(payload: &Bytes) -> Result<(), BusError> {
    if payload.len() > MAX_PAYLOAD { Err(BusError::TooLarge(payload.len())) } else { Ok(()) }
}
