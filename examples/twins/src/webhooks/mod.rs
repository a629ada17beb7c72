//! The senders of webhooks: every provider's signature, retry schedule and misbehaviour, from their
//! published documentation.
//!
//! Unlike the other twins this one is a client. [`Account`] signs what a provider would send,
//! [`Sender`] decides when to send it and when to send it again (plain values, so that a test can
//! play three days in a second), and [`run`] sends in real time to any HTTP service.
//!
//! | provider | signature | tries again | counts as taken |
//! | --- | --- | --- | --- |
//! | GitHub | `X-Hub-Signature-256`, HMAC-SHA256 of the body | never | 2xx in 10 s |
//! | Stripe | `Stripe-Signature: t=,v1=`, HMAC-SHA256, a fake `v0` next to it, signed again for each attempt | for three days | 2xx in 20 s |
//! | Standard Webhooks | `webhook-signature`, HMAC-SHA256 (`v1`) or Ed25519 (`v1a`) | 9 times in 75 h | 2xx in 20 s |
//! | Svix | the same under `svix-` headers | 7 times in 27 h | 2xx in 30 s |
//! | Slack | `X-Slack-Signature: v0=`, HMAC-SHA256 | 3 times in 6 min | 2xx in 3 s |
//! | Discord | `X-Signature-Ed25519` | interactions never, events for 10 min | 200 or 204 in 3 s |
//! | Twilio | `X-Twilio-Signature`, HMAC-SHA1 of URL and form, or `bodySHA256` | once | 2xx in 15 s |
//! | Shopify | `X-Shopify-Hmac-Sha256`, HMAC-SHA256 as base64 | 8 times in 4 h | 2xx in 5 s |
//! | GitLab | signing token as Standard Webhooks, or `X-Gitlab-Token` | never | 2xx in 10 s |
//! | Linear | `Linear-Signature`, HMAC-SHA256, time in the body | after 1 min, 1 h, 6 h | exactly 200 in 5 s |
//! | Telegram | `X-Telegram-Bot-Api-Secret-Token` | doubling to 120 s, for a day; honours `Retry-After` | 2xx in 60 s |
//! | Pub/Sub | `Authorization: Bearer`, RS256, one token for many messages | doubling to 60 s, for seven days | 102, 200, 201, 202, 204 in 10 s |
//!
//! Where a schedule is not published (Stripe, Discord's events), it is one that fills the published
//! horizon. The RSA keys are for tests only.

mod account;
mod provider;
mod sender;
#[cfg(test)]
mod tests;

pub use account::{Account, Body, Event, jwks, jwt};
pub use provider::Provider;
pub use sender::{Attempt, Mischief, Outcome, Report, Sender, run};
