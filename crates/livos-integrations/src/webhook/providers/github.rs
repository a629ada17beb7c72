//! GitHub: HMAC-SHA256 over the raw body in `X-Hub-Signature-256`.
//!
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>. Neither the delivery id nor the event's name is signed. The SHA-1
//! signature of old is ignored, so that it can't rescue a wrong one. GitHub does not try again by
//! itself; a delivery sent again by hand has the same body.

use bytes::Bytes;
use http::{HeaderName, StatusCode, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};

use crate::webhook::{
    check::{Check, MacJudge},
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{HmacSha256, Keys},
    policy::{MONTH, ProviderAnswer, ProviderPolicy},
    verifier::{Opened, Verifier},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
static DELIVERY: HeaderName = HeaderName::from_static("x-github-delivery");
static EVENT: HeaderName = HeaderName::from_static("x-github-event");

/// Verifies deliveries of GitHub, as JSON or as a form.
#[derive(Debug, Clone)]
pub struct GitHub {
    keys: Keys<HmacSha256>,
}

impl GitHub {
    /// By any of these secrets, which are text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self { keys: Keys::text(secrets)? })
    }
}

impl Verifier for GitHub {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("github").with_retention(MONTH)
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let digits = wire::one(headers, &SIGNATURE)?.strip_prefix("sha256=").and_then(wire::hex);
        let signature = digits.ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let id = wire::id(headers, &DELIVERY)?.to_owned();
        let event = wire::optional(headers, &EVENT)?.map(str::to_owned);
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let read = move |body: Bytes| {
            let is_ping = event.as_deref() == Some("ping");
            let delivery = Delivery::by_body("github", Some(id), body).with_event(event);
            let delivery = delivery.with_content_type(content_type);
            Ok(if is_ping {
                delivery.answered_at_once(ProviderAnswer::status(StatusCode::OK))
            } else {
                delivery
            })
        };
        Ok(Check::new(MacJudge::new(self.keys.begin(&[]), vec![signature], read)).into())
    }
}
