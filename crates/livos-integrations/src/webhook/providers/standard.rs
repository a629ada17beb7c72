//! Standard Webhooks 1.0: a signature over the id, the time and the raw body, with a shared secret
//! (`v1`) or by Ed25519 (`v1a`); and Svix, who began it.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>. A `v1` is compared under shared secrets only and a `v1a` under
//! public keys only, so that a key which everybody knows never becomes a secret. Versions that are
//! not known and items that can't be read are passed over. An id with a dot is refused: id, time
//! and body are joined by dots, and could be split at another dot under the same signature.

use std::time::Duration;

use ::hmac::Mac as _;
use bytes::Bytes;
use ed25519_dalek::{Signature, VerifyingKey};
use http::{HeaderMap, HeaderName, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};

use crate::webhook::{
    check::{Check, Judge},
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, HmacSha256, Keys},
    policy::{ProviderPolicy, TOLERANCE},
    verifier::{Opened, Verifier},
    wire,
};

/// Signatures of one delivery that are looked at.
const MAX_SIGNATURES: usize = 16;

/// The names of the three headers. They are taken from one family only, and never mixed.
#[derive(Debug)]
pub(super) struct Family {
    id: HeaderName,
    time: HeaderName,
    signature: HeaderName,
}

static WEBHOOK: Family = Family {
    id: HeaderName::from_static("webhook-id"),
    time: HeaderName::from_static("webhook-timestamp"),
    signature: HeaderName::from_static("webhook-signature"),
};
static SVIX: Family = Family {
    id: HeaderName::from_static("svix-id"),
    time: HeaderName::from_static("svix-timestamp"),
    signature: HeaderName::from_static("svix-signature"),
};

/// The scheme, for every provider that speaks it.
#[derive(Debug, Clone)]
pub(super) struct Scheme {
    provider: &'static str,
    shared: Option<Keys<HmacSha256>>,
    public: Option<Keys<VerifyingKey>>,
    pub(super) tolerance: Duration,
}

impl Scheme {
    pub(super) fn new(
        provider: &'static str,
        secrets: impl IntoIterator<Item = Secret>,
    ) -> Result<Self, InvalidSecret> {
        let (public, shared): (Vec<_>, Vec<_>) =
            secrets.into_iter().partition(|secret| secret.expose().starts_with("whpk_"));
        let (some_public, some_shared) = (!public.is_empty(), !shared.is_empty());
        if !some_public && !some_shared {
            return Err(InvalidSecret::None);
        }
        let shared = || Keys::read(keys::expose(shared), keys::standard);
        let public = || Keys::read(keys::expose(public), keys::standard_public);
        Ok(Self {
            provider,
            shared: some_shared.then(shared).transpose()?,
            public: some_public.then(public).transpose()?,
            tolerance: TOLERANCE,
        })
    }

    /// Judges the head; `event` is what the provider says in a header of its own.
    pub(super) fn open(
        &self,
        now: Timestamp,
        headers: &HeaderMap,
        family: &'static Family,
        event: Option<String>,
    ) -> Result<Opened, VerifyError> {
        let id = wire::id(headers, &family.id)?;
        if id.contains('.') {
            return Err(VerifyError::Malformed(family.id.clone()));
        }
        let (time, signed_at) = wire::timely(headers, &family.time, now, self.tolerance)?;
        let (mut tags, mut signatures) = (Vec::new(), Vec::new());
        for (n, item) in wire::one(headers, &family.signature)?.split(' ').enumerate() {
            match item.split_once(',') {
                _ if n == MAX_SIGNATURES => return Err(VerifyError::Malformed(family.signature.clone())),
                Some(("v1", text)) if self.shared.is_some() => tags.extend(wire::base64::<32>(text)),
                Some(("v1a", text)) if self.public.is_some() => {
                    signatures.extend(wire::base64::<64>(text).map(|bytes| Signature::from_bytes(&bytes)));
                }
                _ => {}
            }
        }
        if tags.is_empty() && signatures.is_empty() {
            return Err(VerifyError::WrongSignature);
        }
        let head = format!("{id}.{time}.");
        let macs = match &self.shared {
            Some(shared) if !tags.is_empty() => shared.begin(&[head.as_bytes()]),
            _ => Vec::new(),
        };
        let public = self.public.as_ref().filter(|_| !signatures.is_empty());
        let public = public.map(|keys| keys.iter().copied().collect()).unwrap_or_default();
        let delivery = Delivery::by_id(self.provider, id, Bytes::new())
            .with_event(event)
            .with_signed_at(signed_at)
            .with_content_type(wire::hint(headers, &header::CONTENT_TYPE));
        Ok(Check::new(StandardJudge { macs, tags, public, signatures, head, delivery }).into())
    }
}

struct StandardJudge {
    macs: Vec<HmacSha256>,
    tags: Vec<[u8; 32]>,
    public: Vec<VerifyingKey>,
    signatures: Vec<Signature>,
    head: String,
    delivery: Delivery,
}

impl Judge for StandardJudge {
    fn update(&mut self, chunk: &[u8]) {
        self.macs.iter_mut().for_each(|mac| mac.update(chunk));
    }

    fn finish(self: Box<Self>, body: Bytes) -> Result<Delivery, VerifyError> {
        let Self { macs, tags, public, signatures, head, delivery } = *self;
        let by_key = || {
            let signed = [head.as_bytes(), &body].concat();
            let pairs =
                public.iter().flat_map(|key| signatures.iter().map(move |signature| (key, signature)));
            // One pair is enough: there is no secret in a public key.
            pairs.take(MAX_SIGNATURES).any(|(key, signature)| key.verify_strict(&signed, signature).is_ok())
        };
        if keys::any_signed(macs, &tags) || (!public.is_empty() && by_key()) {
            return Ok(delivery.with_body(body));
        }
        Err(VerifyError::WrongSignature)
    }
}

/// Verifies deliveries by the Standard Webhooks specification.
#[derive(Debug, Clone)]
pub struct StandardWebhooks(Scheme);

impl StandardWebhooks {
    /// By any of these keys: `whsec_` and base64 (the prefix may be missing) is a shared secret,
    /// `whpk_` a public key.
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Scheme::new("standard", secrets).map(Self)
    }

    /// With another tolerance than [`TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.0.tolerance = tolerance;
        self
    }
}

impl Verifier for StandardWebhooks {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new(self.0.provider)
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        self.0.open(now, &request.headers, &WEBHOOK, None)
    }
}

/// Verifies deliveries of Svix: the same scheme under `svix-` headers, or under `webhook-` where
/// the sender chose so. Where a delivery has a `svix-id`, all three headers are taken from Svix's
/// family.
#[derive(Debug, Clone)]
pub struct Svix(Scheme);

impl Svix {
    /// By any of these keys, as for [`StandardWebhooks::new`].
    pub fn new(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Scheme::new("svix", secrets).map(Self)
    }

    /// With another tolerance than [`TOLERANCE`].
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.0.tolerance = tolerance;
        self
    }
}

impl Verifier for Svix {
    fn policy(&self) -> ProviderPolicy {
        ProviderPolicy::new(self.0.provider)
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let family = if request.headers.contains_key(&SVIX.id) { &SVIX } else { &WEBHOOK };
        self.0.open(now, &request.headers, family, None)
    }
}

/// The family of those who speak the specification itself.
pub(super) fn webhook_family() -> &'static Family {
    &WEBHOOK
}
