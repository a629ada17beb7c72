//! Events between the parts of a server, in one process or in several: "something changed, look at
//! it".
//!
//! An event is delivered **at most once**. It is lost when a subscriber is too slow, when the
//! connection to the server breaks, and when nobody listens. So an event never carries what can't
//! be read elsewhere: what changed is in the store or in the queue, and the event only spares
//! everybody the polling.
//!
//! What may have been lost is never lost silently. After every possible gap, and once at the
//! beginning, a subscriber receives [`Event::Resync`] before any further message, and reads the
//! state. Messages that come after it are newer than the gap. A loop over a subscription is
//! therefore always this:
//!
//! ```
//! use livos_core::bus::{Bus, BusConfig, Event, MemoryBus, Topic};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let bus = MemoryBus::new(BusConfig::default());
//! let topic = Topic::new("pairing", "revoked")?;
//! let mut changes = bus.subscribe(&[topic.clone()])?;
//! bus.publish(&topic, "anna".into()).await?;
//! let mut seen = Vec::new();
//! while let Some(event) = changes.next().await {
//!     match event {
//!         Event::Resync(_) => seen.push("read the whole list from the store".to_owned()),
//!         Event::Message { payload, .. } => seen.push(String::from_utf8_lossy(&payload).into_owned()),
//!     }
//!     if seen.len() == 2 {
//!         break;
//!     }
//! }
//! assert_eq!(seen, ["read the whole list from the store", "anna"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Messages of one publisher, published one after the other, come in that order; those of several
//! come in any order. A publisher never waits for a subscriber. Whoever publishes hears itself, if
//! it subscribes.

#[cfg(any(test, feature = "test-util"))]
pub mod contract;
mod hub;
mod memory;
#[cfg(feature = "redis")]
mod redis;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "redis")]
pub use self::redis::{RedisBus, RedisBusConfig};
pub use self::{
    memory::MemoryBus,
    subscription::{Event, Feed, Gap, Subscription, channel},
    topic::{InvalidTopic, Topic},
};

/// The longest payload, in bytes. 64 KiB: an event says what to look at.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// The bounds of a bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusConfig {
    /// Messages that wait for one subscriber. 256: seconds of a busy server; a subscriber that is
    /// further behind does better to read the state once.
    pub backlog: usize,
    /// Subscriptions at one time. 1024: more is a leak, or a bus that is used as a queue.
    pub subscriptions: usize,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { backlog: 256, subscriptions: 1024 }
    }
}

/// Publishes and subscribes. Cheap to share.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends to everybody who subscribes to the topic now. That it is answered says that the bus
    /// took it, and not that anybody heard it.
    ///
    /// May be cancelled; what was sent by then may still be delivered.
    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<(), BusError>;

    /// Listens to these topics. The first event is [`Gap::Began`]: once the bus is listening, and
    /// not before, which may take as long as the server is away. Whoever reads the state then
    /// misses nothing.
    fn subscribe(&self, topics: &[Topic]) -> Result<Subscription, BusError>;
}

/// Why the bus could not do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The payload is longer than [`MAX_PAYLOAD`].
    #[error("an event of {0} bytes is longer than the {MAX_PAYLOAD} that the bus takes")]
    TooLarge(usize),
    /// A subscription to nothing would never hear anything.
    #[error("a subscription needs a topic")]
    NoTopic,
    /// As many subscriptions as may be are open.
    #[error("the bus has {0} subscriptions, which is as many as may be")]
    Full(usize),
    /// The server failed. Whether the event was sent is not known.
    #[cfg(feature = "redis")]
    #[error("the bus in Redis failed")]
    Redis(#[from] crate::redis::RedisError),
}

impl BusError {
    /// Whether the same call may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::TooLarge(_) | Self::NoTopic => false,
            Self::Full(_) => true,
            #[cfg(feature = "redis")]
            Self::Redis(error) => error.is_temporary(),
        }
    }
}

fn check_payload(payload: &Bytes) -> Result<(), BusError> {
    if payload.len() > MAX_PAYLOAD { Err(BusError::TooLarge(payload.len())) } else { Ok(()) }
}
