//! Deliveries that are who they say they are (P-10): the signature is checked over the raw bytes
//! before anything reads them.
//!
//! A [`Verifier`] knows one provider. Its [`Check`] takes the body chunk by chunk, feeds each to
//! the MAC if the scheme allows it, and returns a [`Verified`] delivery, which can be made in no
//! other way. Its [`ProviderPolicy`] says what the provider expects otherwise. The layers mount it
//! over HTTP, outermost first:
//!
//! | layer | what it answers itself |
//! | --- | --- |
//! | [`SourceLimitLayer`] | 429 with `Retry-After` to the failures of a source that has failed too often; a correct signature passes |
//! | [`VerifyLayer`] | 413 and 408 to a body that is too long or too slow, 401 and 400 to what is not the provider's, greetings in its own words |
//! | [`Enqueue`] | durable or a duplicate, in one step; the provider hears 2xx only after that, or 503 with `Retry-After` |
//!
//! [`intake`] is the three of them. No agent runs before the answer: work is leased from the queue
//! by a worker.
//!
//! # What a repeat is
//!
//! A delivery is deduped by [`Delivery::key`], and that is never something a stranger can choose:
//! the provider's id where the signature covers it, else the hash of the signed bytes. So a
//! captured body under a new id is a duplicate. Where the timestamp is signed too, it is refused
//! altogether once it is older than the tolerance.

mod check;
mod delivery;
mod enqueue;
mod error;
#[cfg(feature = "pubsub")]
pub mod jwks;
#[cfg(feature = "pubsub")]
mod jwt;
mod keys;
mod limit;
mod policy;
mod providers;
#[cfg(test)]
#[cfg(feature = "pubsub")]
mod tests;
mod verifier;
mod verify;
mod wire;

#[cfg(feature = "pubsub")]
pub use self::providers::{PubSub, PubSubConfig};
pub use self::{
    check::Check,
    delivery::{Delivery, NotADelivery, Received, Verified},
    enqueue::Enqueue,
    error::{Fault, InvalidSecret, VerifyError},
    limit::{LimitConfig, Limited, Source, SourceLimit, SourceLimitLayer},
    policy::{ProviderAnswer, ProviderPolicy, TOLERANCE},
    providers::{
        Discord, Encoding, GitHub, GitLab, Hmac, HmacConfig, InvalidHmac, Linear, Shopify, Slack,
        StandardWebhooks, Stripe, Svix, Telegram, Twilio,
    },
    verifier::{Opened, PendingCheck, Verifier, Verifying},
    verify::{Body, Intake, Verify, VerifyConfig, VerifyLayer, intake, intake_by},
};
