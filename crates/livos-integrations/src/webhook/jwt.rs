//! Reads a signed token (JWS, RS256) as strictly as Google writes it. The algorithm is fixed here
//! and never taken from the token.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{VerifyError, jwks::Key};
use livos_core::time::Timestamp;

/// The longest token that is read. Google's have about a thousand bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest id of a key.
const MAX_KID: usize = 128;

/// A token that could be taken apart. Nothing about it is proved yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    signed: &'a str,
    claims: &'a str,
    signature: &'a str,
    pub(super) kid: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    /// Extensions that must be understood; none is.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(from).map(|_| true)
}

/// What a token says.
#[derive(Debug, Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: bool,
    iat: i64,
    exp: i64,
    #[serde(default)]
    nbf: Option<i64>,
}

/// What it has to say.
#[derive(Debug, Clone)]
pub(super) struct Expected {
    pub(super) audience: String,
    pub(super) email: String,
    pub(super) skew: Duration,
}

/// Google writes one, and its own library takes the other as well.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

impl<'a> Token<'a> {
    /// Takes a token apart; none where it is not one of the form that is taken.
    pub(super) fn read(text: &'a str) -> Option<Self> {
        if text.len() > MAX_TOKEN {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        let sound = header.alg == "RS256" && !header.crit && (1..=MAX_KID).contains(&header.kid.len());
        (sound && !claims.contains('.')).then_some(Self { signed, claims, signature, kid: header.kid })
    }

    /// Whether what it says could be right, if it is authentic.
    pub(super) fn says(&self, expected: &Expected, now: Timestamp) -> Result<(), VerifyError> {
        let wrong = |what| Err(VerifyError::WrongClaim(what));
        let claims = decode(self.claims).and_then(|json| serde_json::from_slice::<Claims>(&json).ok());
        let Some(claims) = claims else { return wrong("claim") };
        let time = |seconds: i64| Timestamp::from_unix_ms(seconds.saturating_mul(1000));
        let (earliest, latest) = (now, now.plus(expected.skew));
        if !ISSUERS.contains(&claims.iss.as_str()) {
            return wrong("issuer");
        }
        if claims.aud != expected.audience {
            return wrong("audience");
        }
        // Anybody can have Google sign a token for any audience, with an account of his own.
        if claims.email != expected.email {
            return wrong("email");
        }
        if !claims.email_verified {
            return wrong("email_verified");
        }
        if time(claims.exp).plus(expected.skew) < earliest || claims.exp <= claims.iat {
            return wrong("expiry");
        }
        if time(claims.iat) > latest || claims.nbf.is_some_and(|nbf| time(nbf) > latest) {
            return wrong("time of issue");
        }
        Ok(())
    }

    /// Whether this key signed it.
    pub(super) fn is_by(&self, key: &Key) -> bool {
        let Some(signature) = decode(self.signature) else { return false };
        let key = RsaPublicKeyComponents { n: key.modulus(), e: key.exponent() };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, self.signed.as_bytes(), &signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str) -> String {
        format!("{}.{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode("{}"), "AAAA")
    }

    #[test]
    fn the_token_does_not_choose_how_it_is_checked() {
        assert!(Token::read(&token(r#"{"alg":"RS256","kid":"a","jku":"https://evil.example"}"#)).is_some());
        let table = [
            r#"{"alg":"none","kid":"a"}"#,
            r#"{"alg":"HS256","kid":"a"}"#,
            r#"{"alg":"ES256","kid":"a"}"#,
            r#"{"alg":"rs256","kid":"a"}"#,
            r#"{"alg":"RS256"}"#,
            r#"{"alg":"RS256","kid":""}"#,
            r#"{"alg":"RS256","kid":"a","crit":["exp"]}"#,
            r#"{"alg":"RS256","kid":"a","crit":null}"#,
            r#"{"alg":"none","alg":"RS256","kid":"a"}"#,
            r#"[]"#,
        ];
        for header in table {
            assert!(Token::read(&token(header)).is_none(), "{header}");
        }
        let sound = token(r#"{"alg":"RS256","kid":"a"}"#);
        for odd in [format!("{sound}.AAAA"), sound.replace('.', ""), format!("{sound}="), String::new()] {
            assert!(Token::read(&odd).is_none_or(|token| decode(token.signature).is_none()), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_token_makes_it_panic(text in "[ -~]{0,200}", parts in prop::array::uniform3("[A-Za-z0-9_-]{0,40}")) {
            let _ = Token::read(&text);
            let _ = Token::read(&parts.join("."));
        }
    }
}
