//! Telegram: a shared secret, sent as it is in `X-Telegram-Bot-Api-Secret-Token`.
//!
//! <https://core.telegram.org/bots/api#setwebhook>. It covers nothing of the body, so TLS is what protects the content; who knows the secret can send
//! anything, and the update's id is as good as the secret is.

use bytes::Bytes;
use http::{HeaderName, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};
use serde::Deserialize;

use crate::webhook::{
    check::Check,
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, Keys},
    policy::ProviderPolicy,
    verifier::{Opened, Verifier},
    wire,
};

static TOKEN: HeaderName = HeaderName::from_static("x-telegram-bot-api-secret-token");

/// Verifies updates that Telegram sends to one bot.
#[derive(Debug, Clone)]
pub struct Telegram {
    tokens: Keys<[u8; 32]>,
}

impl Telegram {
    /// By any of these secret tokens: 1 to 256 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        let tokens = Keys::read(keys::expose(secrets), |text| {
            if text.len() > 256 || !text.bytes().all(allowed) {
                return Err(InvalidSecret::Malformed("it is not 1 to 256 letters, digits, _ and -"));
            }
            Ok(keys::token(text))
        })?;
        Ok(Self { tokens })
    }
}

#[derive(Deserialize)]
struct Update {
    update_id: i64,
}

impl Verifier for Telegram {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("telegram")
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        if !keys::any_token(&self.tokens, wire::one(&request.headers, &TOKEN)?) {
            return Err(VerifyError::WrongSignature);
        }
        Ok(Check::new(|body: Bytes| {
            let delivery = match serde_json::from_slice::<Update>(&body) {
                // Nothing signs the id, but anyone who has the secret could send any body too.
                Ok(update) => Delivery::by_id("telegram", update.update_id.to_string(), body),
                Err(_) => Delivery::by_body("telegram", None, body),
            };
            Ok(delivery.with_content_type(Some("application/json".to_owned())))
        })
        .into())
    }
}
