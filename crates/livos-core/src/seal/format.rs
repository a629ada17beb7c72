//! The bytes of a sealed value, and what can be wrong with them.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::KeyId;
use crate::store::MAX_VALUE;

const MAGIC: [u8; 3] = *b"LvS";
const VERSION: u8 = 1;
const KEY: usize = 4;
const RECORD: usize = 12;
const LENGTH: usize = 20;
const NONCE: usize = 24;
/// What comes before the encrypted text.
pub(super) const HEAD: usize = 48;
/// The authentication tag at the end.
pub(super) const TAG: usize = 16;
/// The longest secret, in bytes: what the store takes, less what sealing adds.
pub const MAX_SECRET: usize = MAX_VALUE - HEAD - TAG;

/// Why a secret could not be sealed or opened. Contains nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The secret is longer than [`MAX_SECRET`].
    #[error("a secret of {0} bytes is longer than the {MAX_SECRET} that may be sealed")]
    TooLarge(usize),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes for a nonce")]
    Randomness,
    /// It does not begin like a sealed value: it was written in the clear, or by something else.
    #[error("the value is not a sealed one")]
    NotSealed,
    /// A newer program sealed it.
    #[error("the value is sealed in version {0} of the format, and this program knows version {VERSION}")]
    UnknownVersion(u8),
    /// Bytes are missing, or too many.
    #[error("the value is cut off or too long: it has {found} bytes of {expected}")]
    Truncated {
        /// Bytes that are there.
        found: usize,
        /// How many its head promises, or the shortest that there are.
        expected: usize,
    },
    /// It was sealed under the name of another record, and copied or moved.
    #[error("the value was sealed for another record")]
    Moved,
    /// It was sealed with a key that is not in the ring: the wrong key file, or a key that was
    /// retired too early.
    #[error("the value is sealed with the key {0}, which is not in the key ring")]
    UnknownKey(KeyId),
    /// The key is the right one, and the bytes are not those that were sealed.
    #[error("the value was changed after it was sealed")]
    Tampered,
}

/// A sealed value, in its parts.
pub(super) struct Sealed<'a> {
    pub key: KeyId,
    pub record: [u8; 8],
    /// The authenticated head, without the name.
    pub head: &'a [u8],
    pub nonce: [u8; 24],
    pub text: &'a [u8],
    pub tag: [u8; TAG],
}

/// The head of a value whose text has this length.
pub(super) fn head(key: KeyId, record: [u8; 8], length: u32, nonce: [u8; 24]) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    head[..3].copy_from_slice(&MAGIC);
    head[3] = VERSION;
    head[KEY..RECORD].copy_from_slice(&key.0);
    head[RECORD..LENGTH].copy_from_slice(&record);
    head[LENGTH..NONCE].copy_from_slice(&length.to_be_bytes());
    head[NONCE..].copy_from_slice(&nonce);
    head
}

/// Takes a value apart.
pub(super) fn parse(value: &[u8]) -> Result<Sealed<'_>, SealError> {
    if !value.starts_with(&MAGIC) {
        return Err(SealError::NotSealed);
    }
    match value.get(3) {
        Some(&VERSION) | None => {}
        Some(&version) => return Err(SealError::UnknownVersion(version)),
    }
    let truncated = |expected| SealError::Truncated { found: value.len(), expected };
    let Some((head, rest)) = value.split_at_checked(HEAD) else { return Err(truncated(HEAD + TAG)) };
    let length = u32::from_be_bytes(part(head, LENGTH)) as usize;
    let whole = HEAD.saturating_add(length).saturating_add(TAG);
    if value.len() != whole {
        return Err(truncated(whole));
    }
    let (text, tag) = rest.split_at(length);
    Ok(Sealed {
        key: KeyId(part(head, KEY)),
        record: part(head, RECORD),
        head,
        nonce: part(head, NONCE),
        text,
        tag: part(tag, 0),
    })
}

/// `N` bytes from `at` on, which are there.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}
