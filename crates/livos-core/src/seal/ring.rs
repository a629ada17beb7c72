//! The keys that seal and open.

use std::{fmt, sync::Arc};

use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{AeadInOut, Tag},
};
use secrecy::{ExposeSecret, SecretBox, zeroize::Zeroize};
use sha2::{Digest, Sha256};

use super::{
    KeyId,
    format::{self, MAX_SECRET, SealError, TAG},
};
use crate::secret::{Secret, SecretBytes};

struct SealingKey {
    id: KeyId,
    bytes: SecretBox<[u8; 32]>,
}

/// The prefix of a key in a file, so that scanners for leaked secrets find it.
const PREFIX: &str = "livos-key-v1:";

impl SealingKey {
    fn new(bytes: SecretBox<[u8; 32]>) -> Self {
        let id = digest(&[b"livos key id", bytes.expose_secret().as_slice()]);
        Self { id: KeyId(id), bytes }
    }

    fn random() -> Result<Self, KeyError> {
        SecretBox::try_init_with(|| {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map(|()| bytes)
        })
        .map(Self::new)
        .map_err(|_| KeyError::Randomness)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let bytes = SecretBox::try_init_with(|| {
            let mut bytes = [0; 32];
            for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                *byte = digit(pair[0]).ok_or(())? << 4 | digit(pair[1]).ok_or(())?;
            }
            Ok::<_, ()>(bytes)
        });
        bytes.ok().map(Self::new)
    }
}

fn digit(letter: u8) -> Option<u8> {
    char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

impl Clone for SealingKey {
    fn clone(&self) -> Self {
        Self { id: self.id, bytes: SecretBox::init_with(|| *self.bytes.expose_secret()) }
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 8] {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    let mut beginning = [0; 8];
    beginning.copy_from_slice(&hash.finalize()[..8]);
    beginning
}

/// Several keys: the first, which is the newest, seals; all of them open. Cloning shares them.
/// Their memory is wiped with the last clone.
#[derive(Clone)]
pub struct KeyRing(Arc<Vec<SealingKey>>);

impl KeyRing {
    /// The most keys of a ring. 16: a rotation every week for a season, all of it unfinished.
    pub const MOST: usize = 16;

    /// A ring of one new random key.
    pub fn generate() -> Result<Self, KeyError> {
        Ok(Self(Arc::new(vec![SealingKey::random()?])))
    }

    /// The keys in a text, as they stand in a key file or in an environment variable: each is
    /// `livos-key-v1:` and 64 hexadecimal digits, with white space or a comma between two, the
    /// newest first. A line that begins with `#` is a comment.
    pub fn parse(text: &Secret) -> Result<Self, KeyError> {
        let mut keys: Vec<SealingKey> = Vec::new();
        for (line, text) in text.expose().lines().enumerate().map(|(n, line)| (n + 1, line.trim())) {
            if text.starts_with('#') {
                continue;
            }
            for word in text.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty()) {
                let key = SealingKey::parse(word).ok_or(KeyError::Malformed { line })?;
                if keys.iter().any(|known| known.id == key.id) {
                    return Err(KeyError::Repeated { line, key: key.id });
                }
                keys.push(key);
            }
        }
        match keys.len() {
            0 => Err(KeyError::Empty),
            n if n > Self::MOST => Err(KeyError::TooMany(n)),
            _ => Ok(Self(Arc::new(keys))),
        }
    }

    /// The keys as [`KeyRing::parse`] reads them, one a line.
    pub fn text(&self) -> Secret {
        // Reserved whole, so that no shorter copy of it is left behind in memory.
        let mut text = String::with_capacity(self.0.len() * (PREFIX.len() + 65));
        for key in self.0.iter() {
            text.push_str(PREFIX);
            for byte in key.bytes.expose_secret() {
                text.extend(
                    [byte >> 4, byte & 15].map(|four| char::from(b"0123456789abcdef"[four as usize])),
                );
            }
            text.push('\n');
        }
        Secret::new(text)
    }

    /// The key that seals.
    pub fn newest(&self) -> KeyId {
        self.0.first().map_or(KeyId([0; 8]), |key| key.id)
    }

    /// All keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.0.iter().map(|key| key.id)
    }

    /// The same with a new random key, which seals from now on.
    pub fn rotated(&self) -> Result<Self, KeyError> {
        if self.0.len() >= Self::MOST {
            return Err(KeyError::TooMany(self.0.len() + 1));
        }
        let mut keys = vec![SealingKey::random()?];
        keys.extend(self.0.iter().cloned());
        Ok(Self(Arc::new(keys)))
    }

    /// The same without an old key: what it sealed can't be opened any more.
    pub fn without(&self, key: KeyId) -> Result<Self, KeyError> {
        if key == self.newest() {
            return Err(KeyError::Newest(key));
        }
        let keys: Vec<SealingKey> = self.0.iter().filter(|known| known.id != key).cloned().collect();
        if keys.len() == self.0.len() { Err(KeyError::Unknown(key)) } else { Ok(Self(Arc::new(keys))) }
    }

    /// Seals a secret for the record of this name with the newest key. Sealed twice, it looks
    /// different.
    pub fn seal(&self, name: &str, secret: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Randomness)?;
        self.seal_with(name, secret, nonce)
    }

    pub(super) fn seal_with(&self, name: &str, secret: &[u8], nonce: [u8; 24]) -> Result<Vec<u8>, SealError> {
        let too_large = || SealError::TooLarge(secret.len());
        let length = u32::try_from(secret.len()).map_err(|_| too_large())?;
        let key = self.0.first().filter(|_| secret.len() <= MAX_SECRET).ok_or_else(too_large)?;
        let head = format::head(key.id, mark(name), length, nonce);
        // Reserved whole: a vector that grows would leave the text behind in memory.
        let mut sealed = Vec::with_capacity(head.len() + secret.len() + TAG);
        sealed.extend_from_slice(&head);
        sealed.extend_from_slice(secret);
        let cipher = XChaCha20Poly1305::new(key.bytes.expose_secret().into());
        let authenticated = [&head[..], name.as_bytes()].concat();
        let text = &mut sealed[head.len()..];
        let tag = cipher.encrypt_inout_detached(&nonce.into(), &authenticated, text.into());
        sealed.extend_from_slice(&tag.map_err(|_| too_large())?);
        Ok(sealed)
    }

    /// Opens what was sealed for the record of this name.
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<SecretBytes, SealError> {
        let sealed = format::parse(sealed)?;
        if sealed.record != mark(name) {
            return Err(SealError::Moved);
        }
        let key = self.0.iter().find(|key| key.id == sealed.key).ok_or(SealError::UnknownKey(sealed.key))?;
        let cipher = XChaCha20Poly1305::new(key.bytes.expose_secret().into());
        let authenticated = [sealed.head, name.as_bytes()].concat();
        let mut text = sealed.text.to_vec();
        let tag = Tag::<XChaCha20Poly1305>::from(sealed.tag);
        let opened = cipher.decrypt_inout_detached(
            &sealed.nonce.into(),
            &authenticated,
            text.as_mut_slice().into(),
            &tag,
        );
        match opened {
            Ok(()) => Ok(SecretBytes::from(text)),
            Err(_) => {
                text.zeroize();
                Err(SealError::Tampered)
            }
        }
    }

    /// The name of the key that sealed a value.
    pub fn key_of(sealed: &[u8]) -> Result<KeyId, SealError> {
        format::parse(sealed).map(|sealed| sealed.key)
    }
}

/// Tells records apart, so that one that was moved is not taken for one that was changed. The tag
/// covers the whole name.
fn mark(name: &str) -> [u8; 8] {
    digest(&[b"livos record", name.as_bytes()])
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing").field(&self.ids().collect::<Vec<_>>()).finish()
    }
}

/// Why there is no such ring. Contains nothing of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no key in the text.
    #[error("there is no key in the text")]
    Empty,
    /// Something in the text is not a key.
    #[error("line {line} of the keys holds something else than `livos-key-v1:` and 64 hexadecimal digits")]
    Malformed {
        /// Its position in the text, from 1.
        line: usize,
    },
    /// A key stands there twice.
    #[error("line {line} repeats the key {key}")]
    Repeated {
        /// Its position in the text, from 1.
        line: usize,
        /// The name of that key.
        key: KeyId,
    },
    /// There are more keys than [`KeyRing::MOST`].
    #[error("{0} keys are more than the {most} of a ring: reseal, and retire old ones", most = KeyRing::MOST)]
    TooMany(usize),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a key")]
    Randomness,
    /// The newest key can't be taken away, because nothing could be sealed without it.
    #[error("{0} is the newest key: rotate first")]
    Newest(KeyId),
    /// There is no such key.
    #[error("there is no key {0} in the ring")]
    Unknown(KeyId),
}
