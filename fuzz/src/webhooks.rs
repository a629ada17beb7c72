//! Webhooks from strangers and from the provider: nothing that a stranger writes is verified, and
//! all that the provider signs is.
//!
//! Each input is judged as it came, and again under the signature that a sender with the secret
//! would have put on it, so that what is read after the signature is reached as well.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};
use livos_integrations::webhook::{Delivery, Received, Verified, Verifier, VerifyError};
use sha2::Sha256;

use crate::{message::Message, peer};

/// When the corpus was signed.
pub const NOW: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
/// Where it was sent.
pub const URL: &str = "https://agent.example/hook";

/// What a sender with the secret writes.
#[derive(Debug)]
pub struct Signature {
    /// The signature alone, in its encoding.
    pub proof: String,
    /// The whole header.
    pub header: String,
}

impl Signature {
    /// A signature that is a header by itself.
    pub fn bare(proof: impl Into<String>) -> Self {
        let proof = proof.into();
        Self { header: proof.clone(), proof }
    }

    /// A signature with something before it.
    pub fn after(prefix: &str, proof: String) -> Self {
        Self { header: format!("{prefix}{proof}"), proof }
    }

    /// Whether this header has the signature in it. Digits may be of either case.
    fn stands_in(&self, header: &str) -> bool {
        let is = |text: &str| text == self.proof || text.to_ascii_lowercase() == self.proof;
        if self.proof == self.header {
            is(header)
        } else {
            header
                .split([',', ' '])
                .any(|item| is(item) || item.split_once('=').is_some_and(|(_, value)| is(value)))
        }
    }
}

/// One provider, and how it signs.
pub struct Endpoint<'a> {
    /// What is tested.
    pub verifier: &'a dyn Verifier,
    /// What no error may tell.
    pub secrets: &'a [&'a str],
    /// Where the signature is.
    pub header: &'static str,
    /// The signatures that the provider could put on this request; none where it would not send it.
    pub sign: &'a dyn Fn(&Parts, &[u8]) -> Vec<Signature>,
}

impl Endpoint<'_> {
    /// Judges one input.
    pub fn check(&self, data: &[u8]) {
        let message = Message::read(data);
        let (head, body) = (message.request(), message.body);
        let signatures = (self.sign)(&head, &body);
        if self.verify(&head, &body).is_ok() {
            let said = text(&head.headers, self.header);
            assert!(signatures.iter().any(|one| one.stands_in(said)), "verified without a signature: {said}");
        }
        for signature in signatures {
            let Ok(value) = HeaderValue::try_from(&signature.header) else { continue };
            let mut head = head.clone();
            head.headers.insert(HeaderName::from_static(self.header), value);
            let verified = self.verify(&head, &body);
            assert_ne!(verified.err(), Some(VerifyError::WrongSignature), "a right one: {signature:?}");
        }
    }

    /// Verifies a request, whole and in two pieces, and looks at what comes of it.
    fn verify(&self, head: &Parts, body: &Bytes) -> Result<Verified<Delivery>, VerifyError> {
        let whole = peer::run(self.verifier.verify(NOW, head, body.clone()));
        let pieces = self.verifier.open(NOW, head).and_then(|opened| peer::run(opened.ready())).and_then(
            |mut check| {
                let (first, second) = (body.slice(..body.len() / 2), body.slice(body.len() / 2..));
                check.update(first);
                check.update(second);
                assert_eq!(check.received(), body.len());
                check.finish()
            },
        );
        assert_eq!(whole, pieces, "a body is the same in pieces");
        match &whole {
            Ok(delivery) => self.taken(delivery, body),
            Err(error) => self.refused(error),
        }
        whole
    }

    fn taken(&self, delivery: &Verified<Delivery>, body: &Bytes) {
        assert_eq!(delivery.body(), body, "the bytes that were signed");
        assert_eq!(delivery.provider(), self.verifier.policy().provider);
        let key = delivery.key();
        assert!((1..=512).contains(&key.len()) && !key.contains(char::is_control), "a queue takes {key:?}");
        let policy = self.verifier.policy();
        let answer = delivery.answer().unwrap_or(&policy.accepted).to_response();
        assert!(answer.status().is_success(), "a provider that is verified hears {}", answer.status());
        let received = delivery.received(NOW);
        assert_eq!(Received::from_payload(&received.to_payload()), Ok(received));
    }

    fn refused(&self, error: &VerifyError) {
        for status in [error.status(), self.verifier.policy().refusal(error)] {
            assert!(status.is_client_error() || status.is_server_error(), "{status} is no refusal");
        }
        let said = format!("{error} {error:?}");
        for secret in self.secrets {
            assert!(!said.contains(secret), "an error tells a secret: {said}");
        }
    }
}

/// A secret for a verifier.
pub fn secret(text: &str) -> [Secret; 1] {
    [Secret::new(text)]
}

/// The first value of a header, if it is text.
pub fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// HMAC-SHA256 over these parts.
pub fn sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Ed25519 over these parts.
pub fn ed25519(seed: &[u8; 32], parts: &[&[u8]]) -> [u8; 64] {
    SigningKey::from_bytes(seed).sign(&parts.concat()).to_bytes()
}

/// Hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Base64 with its padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The key of a `whsec_` secret.
pub fn standard_key(secret: &str) -> Vec<u8> {
    STANDARD.decode(secret.trim_start_matches("whsec_")).expect("a recorded secret")
}

/// What Standard Webhooks signs: the id and the time in the headers of this family, and the body.
pub fn standard_signed(headers: &HeaderMap, family: &str, body: &[u8]) -> Vec<u8> {
    let (id, time) = (text(headers, &format!("{family}-id")), text(headers, &format!("{family}-timestamp")));
    [id.as_bytes(), b".", time.as_bytes(), b".", body].concat()
}
