//! Linear: HMAC-SHA256 over the raw body in hexadecimal digits, with the time inside the body.
//!
//! <https://linear.app/developers/webhooks>. `webhookTimestamp` is signed and is what counts; the header of that name is not, and is taken only where the body
//! has no time. The delivery id is not signed. Whether a retry bears a new time is not documented,
//! so the time is left out of what makes two deliveries the same. Linear wants exactly 200.

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

static SIGNATURE: HeaderName = HeaderName::from_static("linear-signature");
static ID: HeaderName = HeaderName::from_static("linear-delivery");
static EVENT: HeaderName = HeaderName::from_static("linear-event");
static TIME: HeaderName = HeaderName::from_static("linear-timestamp");

/// Verifies deliveries of Linear.
#[derive(Debug, Clone)]
pub struct Linear {
    keys: Keys<HmacSha256>,
    tolerance: Duration,
}

impl Linear {
    /// By any of these signing secrets, which are text.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self { keys: Keys::text(secrets)?, tolerance: TOLERANCE })
    }

    /// With another tolerance than [`TOLERANCE`]; Linear's own library has a minute.
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default, rename = "webhookTimestamp")]
    time: Option<i64>,
}

/// The body without the digits of its time.
fn timeless(body: &Bytes, time: i64) -> Bytes {
    const NAME: &[u8] = br#""webhookTimestamp""#;
    let digits = time.to_string();
    let Some(at) = body.windows(NAME.len()).rposition(|window| window == NAME) else { return body.clone() };
    let after = at + NAME.len();
    let gap = body[after..].iter().take_while(|byte| matches!(byte, b' ' | b':' | b'\t' | b'\n' | b'\r'));
    let start = after + gap.count();
    match body[start..].strip_prefix(digits.as_bytes()) {
        Some(rest) => [&body[..start], rest].concat().into(),
        None => body.clone(),
    }
}

impl Verifier for Linear {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("linear")
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let signature = wire::hex::<32>(wire::one(headers, &SIGNATURE)?)
            .ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let id = wire::id(headers, &ID)?.to_owned();
        let event = wire::optional(headers, &EVENT)?.map(str::to_owned);
        let in_header = wire::optional(headers, &TIME)?.map(str::to_owned);
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let tolerance = self.tolerance;
        let read = move |body: Bytes| {
            let signed = serde_json::from_slice::<Payload>(&body).ok().and_then(|payload| payload.time);
            let unsigned = || {
                let text = in_header.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
                text.parse().ok()
            };
            let time = signed.or_else(unsigned).ok_or(VerifyError::Body("it has no webhookTimestamp"))?;
            wire::within(now, Timestamp::from_unix_ms(time), tolerance)?;
            let delivery = Delivery::by_body("linear", Some(id), body.clone());
            let delivery = delivery.with_event(event).with_content_type(content_type);
            Ok(match signed {
                Some(time) => {
                    delivery.same_by("", timeless(&body, time)).with_signed_at(Timestamp::from_unix_ms(time))
                }
                None => delivery,
            })
        };
        Ok(Check::new(MacJudge::new(self.keys.begin(&[]), vec![signature], read)).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_time_of_the_delivery_is_left_out() {
        let table = [
            (r#"{"a":1,"webhookTimestamp":12}"#, r#"{"a":1,"webhookTimestamp":}"#),
            (r#"{"webhookTimestamp" : 12, "b":12}"#, r#"{"webhookTimestamp" : , "b":12}"#),
            (r#"{"a":"\"webhookTimestamp\":12"}"#, r#"{"a":"\"webhookTimestamp\":12"}"#),
            (r#"{"webhookTimestamp":"12"}"#, r#"{"webhookTimestamp":"12"}"#),
        ];
        for (body, expected) in table {
            assert_eq!(timeless(&body.into(), 12), expected, "{body}");
        }
    }
}
