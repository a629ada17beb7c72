//! Discord: Ed25519 over the time and the raw body, for interactions and for webhook events.
//!
//! <https://discord.com/developers/docs/interactions/overview>. Nothing stands between the time and the body, so the time has ten digits and the body begins
//! with a brace: a digit moved from one to the other is refused. Discord asks with wrong signatures
//! now and then and wants 401, which therefore answers everything that is refused. It documents no
//! age for a signature; an old interaction is a duplicate by its id.

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use http::{HeaderName, Response, StatusCode, request::Parts};
use livos_core::time::Timestamp;
use serde::Deserialize;

use super::{
    Check, Delivery, Fault, InvalidSecret, MONTH, Verifier, VerifyError,
    delivery::Greeting,
    keys::{self, Keys},
    wire,
};

static SIGNATURE: HeaderName = HeaderName::from_static("x-signature-ed25519");
static TIME: HeaderName = HeaderName::from_static("x-signature-timestamp");

/// Verifies what Discord sends to an application.
#[derive(Debug, Clone)]
pub struct Discord {
    keys: Keys<VerifyingKey>,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Interactions,
    Events,
}

impl Discord {
    /// Interactions, by any of these public keys of applications, as 64 hexadecimal digits.
    pub fn interactions<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::new(keys, What::Interactions)
    }

    /// Webhook events, by any of these public keys of applications, as 64 hexadecimal digits.
    pub fn events<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::new(keys, What::Events)
    }

    fn new<S: AsRef<str>>(keys: impl IntoIterator<Item = S>, what: What) -> Result<Self, InvalidSecret> {
        let malformed = InvalidSecret::Malformed("a public key has 64 hexadecimal digits");
        let keys = Keys::read(keys, |text| keys::ed25519(wire::hex(text).ok_or(malformed)?))?;
        Ok(Self { keys, what })
    }
}

#[derive(Deserialize)]
struct Interaction {
    id: String,
    #[serde(rename = "type")]
    kind: u64,
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: u64,
    #[serde(default)]
    event: Option<Inner>,
}

#[derive(Deserialize)]
struct Inner {
    #[serde(rename = "type")]
    kind: String,
}

/// Types of interactions.
const PING: u64 = 1;
const COMPONENT: u64 = 3;
const AUTOCOMPLETE: u64 = 4;

fn read(what: What, body: Bytes) -> Delivery {
    match what {
        What::Interactions => match serde_json::from_slice::<Interaction>(&body) {
            Ok(interaction) => {
                let greeting = (interaction.kind == PING).then_some(Greeting::Ping);
                Delivery::with_signed_id("discord", interaction.id, body)
                    .with_event(Some(interaction.kind.to_string()))
                    .greeting_with(greeting)
            }
            Err(_) => Delivery::by_body("discord", None, body),
        },
        // They have no id, and hold the time of what happened: the body is what tells them apart.
        What::Events => match serde_json::from_slice::<Event>(&body) {
            Ok(event) => {
                let greeting = (event.kind == 0).then_some(Greeting::Ping);
                let kind = event.event.map(|inner| inner.kind);
                Delivery::by_body("discord", None, body).with_event(kind).greeting_with(greeting)
            }
            Err(_) => Delivery::by_body("discord", None, body),
        },
    }
}

impl Verifier for Discord {
    fn provider(&self) -> &str {
        "discord"
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Check, VerifyError> {
        let digits = wire::one(&request.headers, &SIGNATURE)?;
        let bytes = wire::hex::<64>(digits).ok_or_else(|| VerifyError::Malformed(SIGNATURE.clone()))?;
        let signature = Signature::from_bytes(&bytes);
        let time = wire::one(&request.headers, &TIME)?;
        let signed_at = wire::seconds(time).filter(|_| time.len() == 10);
        let signed_at = signed_at.ok_or_else(|| VerifyError::Malformed(TIME.clone()))?;
        let (time, keys, what) = (time.to_owned(), self.keys.clone(), self.what);
        Ok(Check::new(move |body: Bytes| {
            if !body.starts_with(b"{") {
                return Err(VerifyError::Body("it does not begin with a brace"));
            }
            let signed = [time.as_bytes(), &body].concat();
            if !keys.iter().any(|key| key.verify_strict(&signed, &signature).is_ok()) {
                return Err(VerifyError::WrongSignature);
            }
            let delivery = read(what, body).with_signed_at(signed_at);
            Ok(delivery.with_content_type(Some("application/json".to_owned())))
        }))
    }

    fn retention(&self) -> std::time::Duration {
        MONTH
    }

    /// A greeting is returned. A command is acknowledged now and answered later, through the
    /// interaction's token; a component is acknowledged without a change, and what wants completing
    /// gets no choices.
    fn answer(&self, delivery: &Delivery) -> Response<Bytes> {
        let json = |json: &'static str| super::body("application/json", json);
        if self.what == What::Events {
            return super::status(StatusCode::NO_CONTENT);
        }
        match delivery.event().and_then(|kind| kind.parse().ok()) {
            Some(PING) => json(r#"{"type":1}"#),
            Some(COMPONENT) => json(r#"{"type":6}"#),
            Some(AUTOCOMPLETE) => json(r#"{"type":8,"data":{"choices":[]}}"#),
            _ => json(r#"{"type":5}"#),
        }
    }

    fn refuse(&self, error: &VerifyError) -> StatusCode {
        match error.fault() {
            Fault::Sender => StatusCode::UNAUTHORIZED,
            Fault::Here => error.status(),
        }
    }
}
