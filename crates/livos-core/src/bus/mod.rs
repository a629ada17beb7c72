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
