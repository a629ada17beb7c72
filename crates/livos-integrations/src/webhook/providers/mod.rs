//! The providers, one file each: which headers carry the proof, what is signed, and what names a
//! delivery.

mod discord;
mod github;
mod gitlab;
mod hmac;
mod linear;
#[cfg(feature = "pubsub")]
mod pubsub;
mod shopify;
mod slack;
mod standard;
mod stripe;
mod telegram;
mod twilio;

#[cfg(feature = "pubsub")]
pub use self::pubsub::{PubSub, PubSubConfig};
pub use self::{
    discord::Discord,
    github::GitHub,
    gitlab::GitLab,
    hmac::{Encoding, Hmac, HmacConfig, InvalidHmac},
    linear::Linear,
    shopify::Shopify,
    slack::Slack,
    standard::{StandardWebhooks, Svix},
    stripe::Stripe,
    telegram::Telegram,
    twilio::Twilio,
};
