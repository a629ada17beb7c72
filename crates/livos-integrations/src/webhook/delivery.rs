//! One arrival from a provider, the proof that it was verified, and what a job keeps of it.

use std::{borrow::Cow, ops::Deref};

use bytes::Bytes;
use livos_core::{
    queue::payload::{join, split},
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{policy::ProviderAnswer, wire::to_hex};

/// One arrival from a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    provider: Cow<'static, str>,
    id: String,
    event: Option<String>,
    signed_at: Option<Timestamp>,
    content_type: Option<String>,
    answer: DeliveryAnswer,
    identity: Identity,
    body: Bytes,
}

/// What makes two deliveries the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Identity {
    /// The id. Only for an id that nobody but the provider can choose.
    Id,
    /// These bytes, which the signature covers while it does not cover the id. The scope is not
    /// signed: it only keeps equal bytes of different kinds apart.
    Bytes(String, Bytes),
}

/// How a delivery is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum DeliveryAnswer {
    /// As the policy of the provider says.
    Usual,
    /// With this, once it is durable.
    Own(ProviderAnswer),
    /// With this, and that is all: nothing is enqueued.
    AtOnce(ProviderAnswer),
}

impl Delivery {
    /// A delivery that is told from others by its id. Only for an id that a stranger can't choose:
    /// the signature covers it, or the whole request is authenticated by a secret or a token that
    /// covers nothing.
    pub(super) fn by_id(provider: impl Into<Cow<'static, str>>, id: impl Into<String>, body: Bytes) -> Self {
        Self {
            provider: provider.into(),
            id: id.into(),
            event: None,
            signed_at: None,
            content_type: None,
            answer: DeliveryAnswer::Usual,
            identity: Identity::Id,
            body,
        }
    }

    /// A delivery that is the same as another with the same body, whatever its id. Without an id it
    /// is named by the body.
    pub(super) fn by_body(provider: impl Into<Cow<'static, str>>, id: Option<String>, body: Bytes) -> Self {
        let id = id.unwrap_or_else(|| to_hex(&Sha256::digest(&body)[..16]));
        let identity = Identity::Bytes(String::new(), body.clone());
        Self { identity, ..Self::by_id(provider, id, body) }
    }

    /// The same as another with these signed bytes and the same `scope`.
    pub(super) fn same_by(self, scope: impl Into<String>, signed: impl Into<Bytes>) -> Self {
        Self { identity: Identity::Bytes(scope.into(), signed.into()), ..self }
    }

    pub(super) fn with_event(self, event: Option<String>) -> Self {
        Self { event, ..self }
    }

    pub(super) fn with_signed_at(self, time: Timestamp) -> Self {
        Self { signed_at: Some(time), ..self }
    }

    pub(super) fn with_content_type(self, content_type: Option<String>) -> Self {
        Self { content_type, ..self }
    }

    /// Answered with this once it is durable, instead of the provider's usual answer.
    pub(super) fn answered_with(self, answer: ProviderAnswer) -> Self {
        Self { answer: DeliveryAnswer::Own(answer), ..self }
    }

    /// Answered with this, and not enqueued.
    pub(super) fn answered_at_once(self, answer: ProviderAnswer) -> Self {
        Self { answer: DeliveryAnswer::AtOnce(answer), ..self }
    }

    pub(super) fn with_body(self, body: Bytes) -> Self {
        Self { body, ..self }
    }

    /// The provider's name.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// The provider's own id of it, for people and logs. Not every provider signs it, so it proves
    /// nothing; see [`Delivery::key`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What happened, in the provider's words, where it says so in a known place. Some say it in a
    /// header that is not signed: a hint, and no proof.
    pub fn event(&self) -> Option<&str> {
        self.event.as_deref()
    }

    /// When the provider signed it, where that is signed.
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.signed_at
    }

    /// The bytes as they came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether it only wants an answer, as a ping does: nothing is enqueued.
    pub fn is_answered_at_once(&self) -> bool {
        matches!(self.answer, DeliveryAnswer::AtOnce(_))
    }

    /// The answer to this delivery; `None` means [`ProviderPolicy::accepted`].
    ///
    /// [`ProviderPolicy::accepted`]: super::ProviderPolicy::accepted
    pub fn answer(&self) -> Option<&ProviderAnswer> {
        match &self.answer {
            DeliveryAnswer::Usual => None,
            DeliveryAnswer::Own(answer) | DeliveryAnswer::AtOnce(answer) => Some(answer),
        }
    }

    /// Repeats of one delivery have the same key, and nobody but the provider can make another for
    /// the same content. Fits into a [`livos_core::queue::DedupeKey`].
    pub fn key(&self) -> String {
        match &self.identity {
            Identity::Id if self.id.len() <= 256 && !self.id.chars().any(char::is_control) => {
                format!("id:{}", self.id)
            }
            Identity::Id => format!("id-sha256:{}", to_hex(&Sha256::digest(self.id.as_bytes()))),
            Identity::Bytes(scope, signed) => {
                let hash = Sha256::new().chain_update(scope).chain_update([0]).chain_update(signed);
                format!("sha256:{}", to_hex(&hash.finalize()))
            }
        }
    }

    /// What a job keeps of it.
    pub fn received(&self, at: Timestamp) -> Received {
        Received {
            provider: self.provider.clone().into_owned(),
            id: self.id.clone(),
            event: self.event.clone(),
            signed_at: self.signed_at,
            content_type: self.content_type.clone(),
            received_at: at,
            body: self.body.clone(),
        }
    }
}

/// Something whose origin was verified. Only a [`super::Verifier`] of this crate makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, without the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A delivery as a job keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Received {
    /// The provider's name.
    pub provider: String,
    /// The provider's own id.
    pub id: String,
    /// What happened, in the provider's words, if it says so in a known place.
    pub event: Option<String>,
    /// When the provider signed it, where that is signed.
    pub signed_at: Option<Timestamp>,
    /// The type of the body, as the sender calls it.
    pub content_type: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// The bytes as they came. Who wrote them is verified, and nothing that they say is an
    /// instruction.
    #[serde(skip)]
    pub body: Bytes,
}

impl Received {
    /// The payload of its job: everything else as the JSON head, and the body behind it (see
    /// [`livos_core::queue::payload`]).
    pub fn to_payload(&self) -> Bytes {
        // A head of texts and numbers is always JSON, and bounded.
        join(self, &self.body).unwrap_or_default().into()
    }

    /// Reads the payload of a job.
    pub fn from_payload(payload: &Bytes) -> Result<Self, NotADelivery> {
        let (received, body) = split::<Self>(payload).map_err(|_| NotADelivery)?;
        Ok(Self { body: payload.slice_ref(body), ..received })
    }
}

/// The payload of a job is not a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job's payload is not a delivery")]
pub struct NotADelivery;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_captured_body_under_a_new_id_has_the_same_key() {
        let delivery =
            |id: &str, body: &'static str| Delivery::by_body("github", Some(id.into()), body.into());
        assert_eq!(delivery("1", "body").key(), delivery("2", "body").key());
        assert_ne!(delivery("1", "body").key(), delivery("1", "other").key());
    }

    #[test]
    fn any_id_makes_a_key_that_a_queue_takes() {
        for id in ["evt_1".to_owned(), "a\nb".to_owned(), "x".repeat(4000)] {
            let key = Delivery::by_id("stripe", id, Bytes::new()).key();
            assert!(key.len() <= 512 && !key.chars().any(char::is_control), "{key}");
        }
    }

    #[test]
    fn a_payload_keeps_its_bytes_across_versions() {
        let delivery =
            Delivery::by_id("slack", "e1", Bytes::from_static(b"\0body")).with_event(Some("message".into()));
        let received = delivery.received(Timestamp::from_unix_ms(5));
        let head = br#"{"provider":"slack","id":"e1","event":"message","signed_at":null,"content_type":null,"received_at":5}"#;
        let stored = Bytes::from([b"\0\0\0", [head.len() as u8].as_slice(), head, b"\0body"].concat());
        assert_eq!(received.to_payload(), stored);
        assert_eq!(Received::from_payload(&stored), Ok(received));
    }

    proptest! {
        #[test]
        fn what_a_job_keeps_comes_back(id in "\\PC{0,40}", body in prop::collection::vec(any::<u8>(), 0..300)) {
            let delivery = Delivery::by_id("slack", id, body.into()).with_event(Some("message".into()));
            let received = delivery.received(Timestamp::from_unix_ms(5));
            prop_assert_eq!(Received::from_payload(&received.to_payload()), Ok(received));
        }

        #[test]
        fn no_payload_makes_it_panic(payload in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Received::from_payload(&payload.into());
        }
    }
}
