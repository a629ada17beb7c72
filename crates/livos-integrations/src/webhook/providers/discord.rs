//! Discord: Ed25519 over the time and the raw body, for interactions and for webhook events.
//!
//! <https://discord.com/developers/docs/interactions/overview>. Nothing stands between the time and the body, so the time has ten digits and the body begins
//! with a brace: a digit moved from one to the other is refused. Discord asks with wrong signatures
//! now and then and wants 401, which therefore answers everything that is refused. It documents no
//! age for a signature; an old interaction is a duplicate by its id.

use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use http::{HeaderName, StatusCode, request::Parts};
use livos_core::time::Timestamp;
use serde::Deserialize;

use crate::interaction::{InteractionAnswer, InteractionKind, Reaction, react};
use crate::webhook::{
    check::Check,
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, Keys},
    policy::{MONTH, ProviderAnswer, ProviderPolicy},
    verifier::{Opened, Verifier},
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
    Interactions { ephemeral: bool },
    Events,
}

impl Discord {
    /// Interactions, by any of these public keys of applications, as 64 hexadecimal digits.
    pub fn interactions<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::new(keys, What::Interactions { ephemeral: false })
    }

    /// Webhook events, by any of these public keys of applications, as 64 hexadecimal digits.
    pub fn events<S: AsRef<str>>(keys: impl IntoIterator<Item = S>) -> Result<Self, InvalidSecret> {
        Self::new(keys, What::Events)
    }

    /// Shows the answers to interactions only to the user who asked.
    #[must_use]
    pub fn with_ephemeral_answers(self) -> Self {
        let what = match self.what {
            What::Interactions { .. } => What::Interactions { ephemeral: true },
            What::Events => What::Events,
        };
        Self { what, ..self }
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

fn json(answer: InteractionAnswer) -> ProviderAnswer {
    ProviderAnswer::body("application/json", answer.to_json().to_string())
}

/// A command is acknowledged now and answered later, through the interaction's token.
fn read_interaction(body: Bytes, ephemeral: bool) -> Result<Delivery, VerifyError> {
    let Interaction { id, kind } =
        serde_json::from_slice(&body).map_err(|_| VerifyError::Body("it is not an interaction"))?;
    let delivery = Delivery::by_id("discord", id, body).with_event(Some(kind.to_string()));
    Ok(match react(InteractionKind::from_number(kind), ephemeral) {
        Reaction::Respond(answer) => delivery.answered_at_once(json(answer)),
        Reaction::Enqueue(answer) => delivery.answered_with(json(answer)),
    })
}

/// Events have no id, and hold the time of what happened: the body is what tells them apart.
fn read_event(body: Bytes) -> Delivery {
    let event = serde_json::from_slice::<Event>(&body);
    let delivery = Delivery::by_body("discord", None, body);
    let Ok(event) = event else { return delivery };
    let delivery = delivery.with_event(event.event.map(|inner| inner.kind));
    match event.kind {
        0 => delivery.answered_at_once(ProviderAnswer::status(StatusCode::NO_CONTENT)),
        _ => delivery,
    }
}

impl Verifier for Discord {
    /// Discord wants 401 for whatever is refused, and shows an interaction's user that the queue is
    /// full.
    fn policy(&self) -> ProviderPolicy {
        let policy =
            ProviderPolicy::new("discord").with_retention(MONTH).with_refused(StatusCode::UNAUTHORIZED);
        match self.what {
            What::Interactions { .. } => policy.with_unavailable(json(InteractionAnswer::Busy)),
            What::Events => policy.with_accepted(ProviderAnswer::status(StatusCode::NO_CONTENT)),
        }
    }

    fn open(&self, _: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
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
            let delivery = match what {
                What::Interactions { ephemeral } => read_interaction(body, ephemeral)?,
                What::Events => read_event(body),
            };
            let delivery = delivery.with_signed_at(signed_at);
            Ok(delivery.with_content_type(Some("application/json".to_owned())))
        })
        .into())
    }
}
