//! Shopify: HMAC-SHA256 over the raw body, as base64 in `X-Shopify-Hmac-Sha256`.
//!
//! <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>. No time and no id is signed. Two topics may have the same body, so the topic belongs to
//! the key, although it is not signed either: a captured body can come in once for each topic at
//! the most. Like Shopify's own library, this refuses an empty body and a delivery without its
//! topic, shop, version or id.

use bytes::Bytes;
use http::{HeaderName, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};

use crate::webhook::{
    check::{Check, MacJudge},
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{HmacSha256, Keys},
    policy::{MONTH, ProviderPolicy},
    verifier::{Opened, Verifier},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-shopify-hmac-sha256");
static TOPIC: HeaderName = HeaderName::from_static("x-shopify-topic");
static SHOP: HeaderName = HeaderName::from_static("x-shopify-shop-domain");
static VERSION: HeaderName = HeaderName::from_static("x-shopify-api-version");
static ID: HeaderName = HeaderName::from_static("x-shopify-webhook-id");

/// Verifies deliveries of Shopify.
#[derive(Debug, Clone)]
pub struct Shopify {
    keys: Keys<HmacSha256>,
}

impl Shopify {
    /// By any of these client secrets of the app. After a rotation the old one may sign for an
    /// hour.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self { keys: Keys::text(secrets)? })
    }
}

impl Verifier for Shopify {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("shopify").with_retention(MONTH)
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let signature = wire::base64::<32>(wire::one(headers, &SIGNATURE)?)
            .ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let (topic, id) = (wire::id(headers, &TOPIC)?.to_owned(), wire::id(headers, &ID)?.to_owned());
        wire::id(headers, &SHOP)?;
        wire::id(headers, &VERSION)?;
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let read = move |body: Bytes| {
            if body.is_empty() {
                return Err(VerifyError::Body("it is empty"));
            }
            let delivery = Delivery::by_body("shopify", Some(id), body.clone()).same_by(topic.clone(), body);
            Ok(delivery.with_event(Some(topic)).with_content_type(content_type))
        };
        Ok(Check::new(MacJudge::new(self.keys.begin(&[]), vec![signature], read)).into())
    }
}
