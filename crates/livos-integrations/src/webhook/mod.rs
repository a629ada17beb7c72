//! Deliveries that are who they say they are (P-10): the signature is checked over the raw bytes
//! before anything reads them.
//!
//! A [`Verifier`] knows one provider. Its [`Check`] takes the body chunk by chunk, feeds each to
//! the MAC where the scheme allows, and answers a [`Verified`] delivery, which can be made in no
//! other way. The layers mount it over HTTP, outermost first:
//!
//! | layer | what it answers itself |
//! | --- | --- |
//! | [`SourceLimitLayer`] | 429 with `Retry-After` to a source that keeps sending what proves nothing |
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
mod custom;
mod delivery;
mod discord;
mod enqueue;
mod error;
mod github;
mod gitlab;
pub mod jwks;
mod jwt;
mod keys;
mod limit;
mod linear;
mod pubsub;
mod shopify;
mod slack;
mod standard;
mod stripe;
mod telegram;
#[cfg(test)]
mod tests;
mod twilio;
mod verify;
mod wire;

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode, request::Parts};
use livos_core::time::Timestamp;

pub use self::{
    check::Check,
    custom::{Encoding, Hmac, HmacConfig, InvalidHmac},
    delivery::{Delivery, NotADelivery, Received, Verified},
    discord::Discord,
    enqueue::Enqueue,
    error::{Fault, InvalidSecret, VerifyError},
    github::GitHub,
    gitlab::GitLab,
    limit::{LimitConfig, Limited, Source, SourceLimit, SourceLimitLayer},
    linear::Linear,
    pubsub::{PubSub, PubSubConfig},
    shopify::Shopify,
    slack::Slack,
    standard::{StandardWebhooks, Svix},
    stripe::Stripe,
    telegram::Telegram,
    twilio::Twilio,
    verify::{Body, Intake, Verify, VerifyConfig, VerifyLayer, intake},
};

/// How far a signed timestamp may lie in the past, or in the future. 300 s: what the providers' own
/// libraries allow.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// What a verifier waits for before it can judge.
pub type Prepared = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Checks the deliveries of one provider, by any of several secrets, so that one can be replaced by
/// another while both are valid.
///
/// No request makes it panic, and none makes it do more than one MAC for each secret before it is
/// refused. A header that matters stands once; encodings are the provider's canonical ones; time
/// counts in both directions. A type outside this crate can wrap a verifier and can't make a
/// [`Verified`].
pub trait Verifier: Send + Sync {
    /// The provider's name in logs and jobs, as in `github`.
    fn provider(&self) -> &str;

    /// What has to be had before [`Verifier::open`] can judge this request, such as the provider's
    /// keys; most need nothing. It ends in bounded time, and its failure shows in `open`.
    fn prepare(&self, now: Timestamp, request: &Parts) -> Option<Prepared> {
        let _ = (now, request);
        None
    }

    /// Judges the head of a request, and begins with its body.
    fn open(&self, now: Timestamp, request: &Parts) -> Result<Check, VerifyError>;

    /// Checks a request whose body is there as a whole.
    fn verify(
        &self,
        now: Timestamp,
        request: &Parts,
        body: Bytes,
    ) -> Result<Verified<Delivery>, VerifyError> {
        let mut check = self.open(now, request)?;
        check.update(body);
        check.finish()
    }

    /// How long a delivery is remembered, so that its repeat is a duplicate: longer than the
    /// provider tries again, and where no timestamp is signed, as long as a captured one shall be
    /// worthless. A week.
    fn retention(&self) -> Duration {
        WEEK
    }

    /// The answer to a delivery that is durable, or a duplicate of one that is, and to a greeting.
    fn answer(&self, delivery: &Delivery) -> Response<Bytes> {
        let _ = delivery;
        Response::new(Bytes::new())
    }

    /// Whether its deliveries may come by `GET`.
    fn takes_get(&self) -> bool {
        false
    }

    /// The status that refuses a request.
    fn refuse(&self, error: &VerifyError) -> StatusCode {
        error.status()
    }
}

/// Beyond every retry of a provider that signs its timestamps.
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// For providers that sign no timestamp, and for Pub/Sub, which may try for 31 days.
const MONTH: Duration = Duration::from_secs(32 * 24 * 3600);

/// An empty answer with this status.
fn status(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response
}

/// An answer with a body.
fn body(content_type: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    let content_type = http::HeaderValue::from_static(content_type);
    response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    response
}
