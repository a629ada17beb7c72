//! Telegram: a bot that loses no update and answers none twice (P-19).
//!
//! Updates come by long polling or by a webhook, and either way become jobs of a durable
//! [`Queue`](livos_core::queue::Queue): one for each update id, whatever is repeated. The poller's
//! [`Offset`] is written in the same step as the jobs, so that Telegram is told to forget only what
//! is durable. A guard in the store lets one process poll at a time.
//!
//! Answers go out through [`TelegramOutlet`] and [`deliver`](crate::sender::deliver), which streams
//! them by editing, splits them at 4096 UTF-16 units, and keeps to Telegram's rates.
//!
//! ```
//! use std::sync::Arc;
//!
//! use livos_core::{embedded::{Embedded, EmbeddedConfig}, queue::{EmbeddedQueue, QueueConfig}, secret::Secret};
//! use livos_core::{http::HttpClient, store::EmbeddedStore, time::SystemClock};
//! use livos_integrations::telegram::{Bot, Poller, PollerConfig, TelegramConfig};
//!
//! fn poller(http: HttpClient, file: Embedded) -> Result<Poller<SystemClock>, Box<dyn std::error::Error>> {
//!     let bot = Bot::new(TelegramConfig::new(Secret::new("123456:an-example-of-a-token")), http)?;
//!     let queue = Arc::new(EmbeddedQueue::new(file.clone(), QueueConfig::default()));
//!     let store = Arc::new(EmbeddedStore::new(file));
//!     Ok(Poller::new(bot, queue, store, SystemClock, PollerConfig::default())?)
//! }
//! ```
//!
//! **The token** stands in the path of every request. It is in no error and no log of this module;
//! a layer round the HTTP client must not log paths.

mod client;
mod commands;
mod config;
mod error;
mod files;
mod incoming;
mod job;
mod markup;
mod methods;
mod offset;
mod outlet;
mod pace;
mod poll;
mod webhook;
mod wire;

#[cfg(feature = "webhook")]
pub use self::webhook::updates;
pub use self::{
    client::Bot,
    commands::{BotCommand, InvalidBotCommand},
    config::{InvalidTelegramConfig, TelegramConfig},
    error::{ErrorKind, TelegramError},
    files::{FetchError, Media},
    incoming::{AttachedFile, AttachmentKind, IncomingMessage, InvokedCommand, Person},
    job::{KIND, Unreadable, job, update},
    methods::{MessageText, SentMessage, Span, WebhookInfo},
    offset::Offset,
    outlet::{MESSAGE, TelegramOutlet},
    poll::{OnWebhook, PollStatus, Poller, PollerConfig},
    webhook::{NotEnabled, WebhookConfig},
    wire::{Audio, CallbackQuery, Chat, ChatKind, Document, Entity, Message, PhotoSize, Update, User, Voice},
};
