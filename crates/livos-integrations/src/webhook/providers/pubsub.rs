//! Google Pub/Sub push: a token by which Google says that the request is of our own subscription.
//!
//! <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>. The token is for the sender and covers nothing of the body, and Pub/Sub uses one
//! for many messages; so a message is known by its own id. Everything is checked that the token
//! says: who issued it, for whom, by which account, until when. What can't be right is refused
//! before any key is asked for. Only some statuses acknowledge a message, and 204 is the one that
//! is answered; an authentic message that can't be read is acknowledged too and goes into the
//! queue, because it would come again for days.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, header, request::Parts};
use livos_core::time::Timestamp;
use serde::Deserialize;

use crate::webhook::{
    check::Check,
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    jwks::{Jwks, Lookup},
    jwt::{Expected, Token},
    policy::{MONTH, ProviderAnswer, ProviderPolicy},
    verifier::{Opened, Verifier},
    wire,
};

static MESSAGE: HeaderName = HeaderName::from_static("x-goog-pubsub-message-id");
static SUBSCRIPTION: HeaderName = HeaderName::from_static("x-goog-pubsub-subscription-name");

/// Whose messages are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PubSubConfig {
    /// The audience of the subscription; the URL that it pushes to, unless it was set to something
    /// else.
    pub audience: String,
    /// The account that the subscription signs with, as in `push@project.iam.gserviceaccount.com`.
    /// Without it, any customer of Google could sign.
    pub email: String,
    /// How far Google's clock and ours may differ. A minute: both keep time by the network.
    pub skew: Duration,
}

impl PubSubConfig {
    /// For this audience, by this account.
    pub fn new(audience: impl Into<String>, email: impl Into<String>) -> Self {
        Self { audience: audience.into(), email: email.into(), skew: Duration::from_secs(60) }
    }
}

/// Verifies messages that Pub/Sub pushes, wrapped in JSON or bare.
#[derive(Debug, Clone)]
pub struct PubSub {
    expected: Expected,
    keys: Jwks,
}

impl PubSub {
    /// By Google's keys.
    pub fn new(config: PubSubConfig, keys: Jwks) -> Result<Self, InvalidSecret> {
        let PubSubConfig { audience, email, skew } = config;
        if audience.trim().is_empty() || email.trim().is_empty() {
            return Err(InvalidSecret::Blank);
        }
        Ok(Self { expected: Expected { audience, email, skew }, keys })
    }
}

fn token(headers: &HeaderMap) -> Result<Token<'_>, VerifyError> {
    let value = wire::one(headers, &header::AUTHORIZATION)?;
    let scheme = value.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("bearer "));
    let token = scheme.and_then(|_| Token::read(&value[7..]));
    token.ok_or(VerifyError::Malformed(header::AUTHORIZATION))
}

#[derive(Deserialize)]
struct Push {
    message: Message,
    subscription: String,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default, rename = "messageId")]
    id: Option<String>,
    #[serde(default)]
    message_id: Option<String>,
}

/// What the body says that names it.
fn named(body: &Bytes) -> Option<String> {
    let push = serde_json::from_slice::<Push>(body).ok()?;
    let id = push.message.id.or(push.message.message_id)?;
    Some(format!("{}/{id}", push.subscription))
}

/// The check of a body whose token is signed by this key.
fn check(headers: &HeaderMap, found: Lookup) -> Result<Check, VerifyError> {
    let key = match found {
        Lookup::Found(key) => key,
        Lookup::Unknown => return Err(VerifyError::WrongClaim("key")),
        Lookup::Unavailable { retry_after } => return Err(VerifyError::KeysUnavailable { retry_after }),
        Lookup::Fetch => return Err(VerifyError::KeysUnavailable { retry_after: Duration::ZERO }),
    };
    if !token(headers)?.is_by(&key) {
        return Err(VerifyError::WrongSignature);
    }
    let bare = wire::optional(headers, &MESSAGE)?.zip(wire::optional(headers, &SUBSCRIPTION)?);
    let bare = bare.map(|(id, subscription)| format!("{subscription}/{id}"));
    let content_type = wire::hint(headers, &header::CONTENT_TYPE);
    Ok(Check::new(move |body: Bytes| {
        let delivery = match bare.or_else(|| named(&body)) {
            // Nothing signs the id, but anyone who has a token could send any body too.
            Some(id) => Delivery::by_id("pubsub", id, body),
            None => Delivery::by_body("pubsub", None, body),
        };
        Ok(delivery.with_content_type(content_type))
    }))
}

impl Verifier for PubSub {
    /// Only some statuses acknowledge a message, and 204 is one.
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("pubsub")
            .with_retention(MONTH)
            .with_accepted(ProviderAnswer::status(StatusCode::NO_CONTENT))
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let token = token(&request.headers)?;
        token.says(&self.expected, now)?;
        match self.keys.lookup(now, &token.kid) {
            Lookup::Fetch => {
                let (keys, kid, headers) = (self.keys.clone(), token.kid, request.headers.clone());
                Ok(Opened::Pending(Box::pin(async move {
                    keys.prepare(now, kid.clone()).await;
                    check(&headers, keys.lookup(now, &kid))
                })))
            }
            found => check(&request.headers, found).map(Opened::Ready),
        }
    }
}
