//! Stripe: HMAC-SHA256 over the time, a dot and the raw body, in `Stripe-Signature: t=…,v1=…`.
//!
//! <https://docs.stripe.com/webhooks>. The key is the whole text of the secret, its `whsec_` included. Only `v1` counts: `v0` is made for test events, and a
//! header with nothing else is an attempt at a downgrade. A `v1` that is malformed is passed over,
//! because another one may be right; a second `t` is refused, because one could be fresh and the
//! other signed.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};
use serde::Deserialize;

use crate::webhook::{
    check::{Check, MacJudge},
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{HmacSha256, Keys},
    policy::{ProviderPolicy, TOLERANCE},
    verifier::{Opened, Verifier},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");
/// Items of a signature that are looked at: two secrets that are being exchanged make two, and test
/// events one more.
const MAX_ITEMS: usize = 16;

/// Verifies events of Stripe.
#[derive(Debug, Clone)]
pub struct Stripe {
    keys: Keys<HmacSha256>,
    tolerance: Duration,
}

impl Stripe {
    /// By any of these secrets of the endpoint, as Stripe shows them.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self { keys: Keys::text(secrets)?, tolerance: TOLERANCE })
    }

    /// With another tolerance than [`TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

/// The time and the signatures of version 1.
fn items(header: &str) -> Option<(&str, Vec<[u8; 32]>)> {
    let (mut time, mut signatures) = (None, Vec::new());
    for (n, item) in header.split(',').enumerate() {
        match item.split_once('=')? {
            _ if n == MAX_ITEMS => return None,
            ("t", _) if time.is_some() => return None,
            ("t", text) => time = Some(text),
            ("v1", digits) => signatures.extend(wire::hex(digits)),
            _ => {}
        }
    }
    Some((time?, signatures)).filter(|(_, signatures)| !signatures.is_empty())
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(default, rename = "type")]
    kind: Option<String>,
}

impl Verifier for Stripe {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("stripe")
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let malformed = || VerifyError::Malformed(SIGNATURE.clone());
        let (time, signatures) = items(wire::one(&request.headers, &SIGNATURE)?).ok_or_else(malformed)?;
        let signed_at = wire::seconds(time).ok_or_else(malformed)?;
        wire::within(now, signed_at, self.tolerance)?;
        let content_type = wire::hint(&request.headers, &header::CONTENT_TYPE);
        let read = move |body: Bytes| {
            let delivery = match serde_json::from_slice::<Event>(&body) {
                Ok(event) => Delivery::by_id("stripe", event.id, body).with_event(event.kind),
                // Signed by Stripe but unreadable: enqueued as it is, because Stripe would retry a
                // refused one for three days.
                Err(_) => Delivery::by_body("stripe", None, body),
            };
            Ok(delivery.with_signed_at(signed_at).with_content_type(content_type))
        };
        let macs = self.keys.begin(&[time.as_bytes(), b"."]);
        Ok(Check::new(MacJudge::new(macs, signatures, read)).into())
    }
}
