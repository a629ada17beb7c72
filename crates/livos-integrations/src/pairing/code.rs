//! A pairing code: what a person reads on one screen and types on another.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use ::hmac::{Hmac, KeyInit, Mac as _};
use livos_core::secret::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Thirty-two characters that nobody mistakes for one another: no `0` and `O`, no `1` and `I`. Each
/// is five bits.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// What an operating system's random source gives for one code: half becomes the code, half the
/// salt of its hash.
pub(super) const ENTROPY: usize = 32;

/// A code in its plain form. It is never stored, `Debug` prints nothing, and it leaves only by
/// `Display`, for the person it is made for.
#[derive(Clone)]
pub struct PairingCode(Secret);

impl PairingCode {
    /// The fewest characters of a code: 40 bits.
    pub const MIN_LENGTH: usize = 8;
    /// The most: what somebody can still be asked to type.
    pub const MAX_LENGTH: usize = 16;

    /// What somebody typed, in any case, with any blanks and hyphens; none where it can't be a
    /// code. Text that is no code counts as no guess.
    pub fn parse(typed: &str) -> Option<Self> {
        // Longer texts are messages, and not read to their end.
        if typed.len() > 4 * Self::MAX_LENGTH {
            return None;
        }
        let kept = typed.chars().filter(|letter| !letter.is_whitespace() && *letter != '-');
        let code: String = kept.map(|letter| letter.to_ascii_uppercase()).collect();
        let sound = (Self::MIN_LENGTH..=Self::MAX_LENGTH).contains(&code.len())
            && code.bytes().all(|byte| ALPHABET.contains(&byte));
        sound.then(|| Self(Secret::new(code)))
    }

    /// A new one. 256 is a multiple of 32, so that no character is likelier than another.
    pub(super) fn generate(length: usize, entropy: &[u8; ENTROPY]) -> Self {
        let letter = |byte: &u8| char::from(ALPHABET[usize::from(byte % 32)]);
        Self(Secret::new(entropy[..Self::MAX_LENGTH].iter().take(length).map(letter).collect::<String>()))
    }
}

impl fmt::Display for PairingCode {
    /// In groups of four, as in `K7MP-2XWD`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.0.expose().chars().enumerate();
        for (at, letter) in letters {
            if at > 0 && at % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{letter}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for PairingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingCode(…)")
    }
}

/// What is kept of a code: a hash under a salt of its own and a key of the server, without which
/// 2^40 codes would be tried in minutes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct HashedCode {
    salt: [u8; 16],
    hash: [u8; 32],
}

impl HashedCode {
    pub(super) fn new(code: &PairingCode, key: &Secret, entropy: &[u8; ENTROPY]) -> Self {
        let mut salt = [0; 16];
        salt.copy_from_slice(&entropy[ENTROPY - 16..]);
        Self { salt, hash: mac(key, &salt, code) }
    }

    /// In constant time.
    pub(super) fn is(&self, code: &PairingCode, key: &Secret) -> bool {
        mac(key, &self.salt, code).ct_eq(&self.hash).into()
    }
}

fn mac(key: &Secret, salt: &[u8; 16], code: &PairingCode) -> [u8; 32] {
    // HMAC takes a key of any length, so this can't fail; a hash that matches nothing is the safe
    // answer if it did.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return [0; 32] };
    mac.update(b"livos pairing code\0");
    mac.update(salt);
    mac.update(code.0.expose().as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entropy() -> [u8; ENTROPY] {
        std::array::from_fn(|at| u8::try_from(at * 37 % 256).unwrap())
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let shown = PairingCode::generate(8, &entropy()).to_string();
        assert_eq!((shown.len(), shown.chars().nth(4)), (9, Some('-')));
        let key = Secret::new("the server's key");
        let kept = HashedCode::new(&PairingCode::generate(8, &entropy()), &key, &entropy());
        for typed in [shown.clone(), shown.to_lowercase(), format!("  {} ", shown.replace('-', " "))] {
            let code = PairingCode::parse(&typed).unwrap();
            assert!(kept.is(&code, &key), "{typed:?}");
            assert!(!kept.is(&code, &Secret::new("another server's key")));
        }
        assert!(!kept.is(&PairingCode::parse("ZZZZ-ZZZZ").unwrap(), &key));
    }

    #[test]
    fn what_can_not_be_a_code_is_no_guess() {
        let long = "A".repeat(17);
        for typed in ["", "hello", "ABCDEFG", "ABCDEFG0", "ABCDEFGO", "ABCDEFGÄ", "what is the time?", &long]
        {
            assert!(PairingCode::parse(typed).is_none(), "{typed:?}");
        }
    }

    #[test]
    fn a_code_shows_itself_to_nobody_else() {
        let code = PairingCode::generate(16, &entropy());
        assert_eq!(format!("{code:?}"), "PairingCode(…)");
        let kept = HashedCode::new(&code, &Secret::new("key"), &entropy());
        assert!(!serde_json::to_string(&kept).unwrap().contains(&code.to_string().replace('-', "")));
    }
}
