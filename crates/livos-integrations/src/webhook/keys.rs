//! The active secrets of one endpoint, ready to be used: none is blank, and none is malformed.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use ::hmac::{Hmac, KeyInit, Mac};
use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::VerifyingKey;
use livos_core::secret::Secret;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{InvalidSecret, wire};

/// Secrets at one time: the old and the new one during a rotation, and some room.
pub(super) const MAX: usize = 4;

pub(super) type HmacSha256 = Hmac<Sha256>;

/// One or more keys of one kind.
#[derive(Clone)]
pub(super) struct Keys<K>(Vec<K>);

impl<K> fmt::Debug for Keys<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.0.len())
    }
}

impl<K> Keys<K> {
    /// Reads each secret.
    pub(super) fn read<S: AsRef<str>>(
        secrets: impl IntoIterator<Item = S>,
        read: impl Fn(&str) -> Result<K, InvalidSecret>,
    ) -> Result<Self, InvalidSecret> {
        let mut keys = Vec::new();
        for secret in secrets {
            let text = secret.as_ref();
            if text.trim().is_empty() {
                return Err(InvalidSecret::Blank);
            }
            if text.trim() != text {
                return Err(InvalidSecret::Malformed("it begins or ends with white space"));
            }
            if keys.len() == MAX {
                return Err(InvalidSecret::TooMany);
            }
            keys.push(read(text)?);
        }
        if keys.is_empty() { Err(InvalidSecret::None) } else { Ok(Self(keys)) }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.iter()
    }
}

/// A secret as the text that it is.
pub(super) struct Exposed(Secret);

impl AsRef<str> for Exposed {
    fn as_ref(&self) -> &str {
        self.0.expose()
    }
}

/// Lets [`Keys::read`] see secrets.
pub(super) fn expose(secrets: impl IntoIterator<Item = Secret>) -> impl Iterator<Item = Exposed> {
    secrets.into_iter().map(Exposed)
}

impl<M: Mac + KeyInit + Clone> Keys<M> {
    /// Keys that are the bytes of their text.
    pub(super) fn text(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Self::read(expose(secrets), |text| mac(text.as_bytes()))
    }

    /// A MAC under each key, which has been fed this.
    pub(super) fn begin(&self, first: &[&[u8]]) -> Vec<M> {
        let fed = |mac: &M| {
            let mut mac = mac.clone();
            first.iter().for_each(|bytes| mac.update(bytes));
            mac
        };
        self.iter().map(fed).collect()
    }
}

/// A MAC under this key.
pub(super) fn mac<M: Mac + KeyInit>(key: &[u8]) -> Result<M, InvalidSecret> {
    M::new_from_slice(key).map_err(|_| InvalidSecret::Malformed("it has a length that no key has"))
}

/// Whether any of these MACs is any of these signatures. All are compared, whichever matches: the
/// time taken tells nothing.
pub(super) fn any_signed<M: Mac>(macs: Vec<M>, signatures: &[impl AsRef<[u8]>]) -> bool {
    let mut found = Choice::from(0);
    for mac in macs {
        let expected = mac.finalize().into_bytes();
        for signature in signatures {
            found |= expected.as_slice().ct_eq(signature.as_ref());
        }
    }
    found.into()
}

/// The key of a Standard Webhooks secret: base64 of 24 to 64 bytes, with or without its prefix.
pub(super) fn standard(text: &str) -> Result<HmacSha256, InvalidSecret> {
    if text.starts_with("whsk_") || text.starts_with("whpk_") {
        return Err(InvalidSecret::Malformed("it is a key for Ed25519 and not a shared secret"));
    }
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    let key = STANDARD.decode(encoded).map_err(|_| InvalidSecret::Malformed("it is not base64"))?;
    if !(24..=64).contains(&key.len()) {
        return Err(InvalidSecret::Malformed("it has less than 24 or more than 64 bytes"));
    }
    mac(&key)
}

/// A public key for Ed25519 in its one encoding that is a point of large order: with another, one
/// signature fits many messages.
pub(super) fn ed25519(bytes: [u8; 32]) -> Result<VerifyingKey, InvalidSecret> {
    match VerifyingKey::from_bytes(&bytes) {
        Ok(key) if !key.is_weak() && key.to_edwards().compress().to_bytes() == bytes => Ok(key),
        _ => Err(InvalidSecret::Malformed("it is not a public key for Ed25519")),
    }
}

/// The public key of a Standard Webhooks endpoint: `whpk_` and base64 of 32 bytes.
pub(super) fn standard_public(text: &str) -> Result<VerifyingKey, InvalidSecret> {
    let bytes = text.strip_prefix("whpk_").and_then(wire::base64::<32>);
    ed25519(bytes.ok_or(InvalidSecret::Malformed("a public key is whpk_ and base64 of 32 bytes"))?)
}

/// A shared secret that is sent as it is, kept as its hash: hashes are compared in a time that
/// tells nothing, not even the length.
pub(super) fn token(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether any of the tokens was sent.
pub(super) fn any_token(tokens: &Keys<[u8; 32]>, sent: &str) -> bool {
    let sent = token(sent);
    tokens.iter().fold(Choice::from(0), |found, token| found | token.ct_eq(&sent)).into()
}
