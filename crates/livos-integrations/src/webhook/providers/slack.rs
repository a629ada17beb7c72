//! Slack: HMAC-SHA256 over the version, the time and the raw body, in `X-Slack-Signature: v0=…`.
//!
//! <https://docs.slack.dev/authentication/verifying-requests-from-slack>. Events come as JSON, commands and interactions as forms; the signature is over the
//! bytes of either. The `token` in a body is no proof, and not read. The challenge is said back
//! only if it is signed.

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
    policy::{ProviderAnswer, ProviderPolicy, TOLERANCE},
    verifier::{Opened, Verifier},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
static TIME: HeaderName = HeaderName::from_static("x-slack-request-timestamp");

/// Verifies events, commands and interactions of Slack.
#[derive(Debug, Clone)]
pub struct Slack {
    keys: Keys<HmacSha256>,
    tolerance: Duration,
}

impl Slack {
    /// By any of these signing secrets, which are text, although they look like hexadecimal digits.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self { keys: Keys::text(secrets)?, tolerance: TOLERANCE })
    }

    /// With another tolerance than [`TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance, ..self }
    }
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    challenge: Option<String>,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    team_id: Option<String>,
    #[serde(default)]
    event: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    trigger_id: Option<String>,
}

fn read(body: Bytes) -> Delivery {
    if body.starts_with(b"{") {
        return read_event(body);
    }
    let field = |name: &str| {
        let found = form_urlencoded::parse(&body).find(|(field, _)| field == name);
        found.map(|(_, value)| value.into_owned())
    };
    let interaction = field("payload").and_then(|json| serde_json::from_str::<Interaction>(&json).ok());
    let (trigger, event) = match interaction {
        Some(interaction) => (interaction.trigger_id, Some(interaction.kind)),
        None => (field("trigger_id"), field("command")),
    };
    let trigger = trigger.filter(|trigger| !trigger.is_empty());
    match trigger {
        Some(trigger) => Delivery::by_id("slack", trigger, body),
        None => Delivery::by_body("slack", None, body),
    }
    .with_event(event)
}

fn read_event(body: Bytes) -> Delivery {
    let Ok(event) = serde_json::from_slice::<Event>(&body) else {
        return Delivery::by_body("slack", None, body);
    };
    let challenge = event.challenge.filter(|_| event.kind == "url_verification");
    let kind = event.event.map_or(event.kind, |inner| inner.kind);
    let delivery = match (event.team_id, event.event_id) {
        // Ids are unique for each team.
        (Some(team), Some(id)) => Delivery::by_id("slack", format!("{team}:{id}"), body),
        (None, Some(id)) => Delivery::by_id("slack", id, body),
        (_, None) => Delivery::by_body("slack", None, body),
    };
    let delivery = delivery.with_event(Some(kind));
    match challenge {
        Some(challenge) => delivery.answered_at_once(ProviderAnswer::body("text/plain", challenge)),
        None => delivery,
    }
}

impl Verifier for Slack {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new("slack")
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let digits = wire::one(headers, &SIGNATURE)?.strip_prefix("v0=").and_then(wire::hex);
        let signature = digits.ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let (time, signed_at) = wire::timely(headers, &TIME, now, self.tolerance)?;
        let content_type = wire::hint(headers, &header::CONTENT_TYPE);
        let macs = self.keys.begin(&[b"v0:", time.as_bytes(), b":"]);
        let read = move |body| Ok(read(body).with_signed_at(signed_at).with_content_type(content_type));
        Ok(Check::new(MacJudge::new(macs, vec![signature], read)).into())
    }
}
