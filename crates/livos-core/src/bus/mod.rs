//! Events between the parts of a server, in one process or in several: "something changed, look at
//! it".
//!
//! An event is delivered **at most once**. It is lost if a subscriber is too slow, if the
//! connection to the server breaks, or if nobody listens. So an event never carries what can't be
//! read elsewhere: the state is in the store or the queue, and the event only saves polling.
//!
//! A possible loss is always reported. After every gap, and once at the beginning, a subscriber
//! receives [`Event::Resync`] before any further message, and reads the state. Messages that come
//! after it are newer than the gap. So a loop over a subscription always looks like this:
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
//! Messages that one publisher sends one after the other arrive in that order; those of several
//! arrive in any order. A publisher never waits for a subscriber, and hears its own messages if it
//! subscribes.

mod api;
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

#[cfg(feature = "redis")]
pub use self::redis::{RedisBus, RedisBusConfig};
pub use self::{
    api::{Bus, BusConfig, BusError, MAX_PAYLOAD},
    memory::MemoryBus,
    subscription::{Event, Feed, Gap, Subscription, channel},
    topic::{InvalidTopic, Topic},
};
