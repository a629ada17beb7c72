//! Webhooks: verified deliveries, stored at once, and worked on by the agent in its own time.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `POST /hooks/{name}` | anyone who can sign for it | a webhook of the configuration |
//!
//! Each `[[webhooks]]` of the configuration is one endpoint. A delivery becomes a job of the kind
//! `webhook.{name}`. The agent reads it as text from outside, in a conversation of its own and with
//! nobody's rights, and its answer is logged.

mod config;
mod feature;
mod verifier;
mod work;

pub use self::{
    config::{Webhook, WebhookProvider, WebhooksSection},
    feature::Hooks,
};
