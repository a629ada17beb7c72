//! Discord, losing nothing: the gateway with a session that survives the process, interactions
//! answered within three seconds, and messages sent within Discord's limits.
//!
//! What people write becomes jobs of the queue, by Discord's own ids, before the event's number
//! advances: a kill at any instant repeats work and forgets none, and repeats are duplicates. Three
//! parts meet here:
//!
//! - [`Listener`] keeps the bot at the [gateway] and enqueues [`Event`]s. The decisions are those
//!   of [`gateway::Gateway`].
//! - `interactions`, with the `webhook` feature, is the other way in: an endpoint for a bot whose
//!   portal names an interactions URL.
//! - [`Rest`] asks Discord over HTTP. A [`DiscordOutlet`] is where an event came from, for
//!   [`deliver`](crate::sender::deliver) to write an answer into.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use livos_core::{drain::Drain, embedded::*, http::HttpClient, queue::*, secret::Secret};
//! use livos_core::{store::EmbeddedStore, time::SystemClock};
//! use livos_integrations::discord::{Listener, ListenerConfig, Rest, RestConfig};
//! # type Connector = tower::util::BoxCloneSyncService<http::Uri, tokio::io::DuplexStream, tower::BoxError>;
//! # async fn example(http: HttpClient, connector: Connector) -> Result<(), Box<dyn std::error::Error>> {
//! let file = Embedded::open("livos.redb", EmbeddedConfig::default())?;
//! let queue = Arc::new(EmbeddedQueue::new(file.clone(), QueueConfig::default()));
//! let store = Arc::new(EmbeddedStore::new(file));
//! let rest = Rest::new(RestConfig::new(Secret::new("token")), http)?;
//! let listener = Listener::new(ListenerConfig::default(), connector, rest, queue, store, SystemClock);
//! let drain = Drain::new();
//! let signal = drain.signal();
//! listener.run(signal).await?;
//! # Ok(())
//! # }
//! ```

mod commands;
#[cfg(feature = "webhook")]
mod endpoint;
mod event;
pub mod gateway;
mod id;
mod intake;
mod jobs;
mod outlet;
pub mod rest;
#[cfg(test)]
#[cfg(feature = "webhook")]
mod tests;

#[cfg(feature = "webhook")]
pub use self::endpoint::interactions;
pub use self::{
    commands::{CommandOption, InvalidSlashCommand, OptionKind, SlashCommand},
    event::{Attachment, Author, ChannelMessage, Event, Interaction, InteractionToken, InvalidEvent, Quoted},
    gateway::{ListenError, Listener, ListenerConfig},
    id::{Id, InvalidSnowflake},
    intake::Groups,
    jobs::JobConfig,
    outlet::{DiscordOutlet, MESSAGE, Way, way},
    rest::{Outgoing, Rest, RestConfig, RestError},
};
pub use crate::interaction::{InteractionAnswer, InteractionKind, Reaction, react};
