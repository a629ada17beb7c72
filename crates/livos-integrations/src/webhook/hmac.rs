//! HMAC-SHA256 over the raw body in a hexadecimal header: GitHub's scheme, and that of many others.
//!
//! <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>. The delivery id is not part of what GitHub signs, so it tells
//! repeats apart but proves nothing; the signature covers the body alone.

use ::hmac::{Hmac as Mac, KeyInit, Mac as _};
use bytes::Bytes;
use http::HeaderMap;
use livos_core::secret::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Delivery, InvalidSecret, Verified, Verifier, VerifyError};

/// Verifies a hexadecimal HMAC-SHA256 of the body.
#[derive(Debug)]
pub struct Hmac {
    secrets: Vec<Secret>,
    signature_header: &'static str,
    prefix: &'static str,
    id_header: &'static str,
}

/// Secrets at one time: the old and the new one during a rotation, and some room. Each costs a hash of the body.
const MAX_SECRETS: usize = 4;
/// The longest id that is taken. The providers' are UUIDs.
const MAX_ID: usize = 128;

impl Hmac {
    /// GitHub: `X-Hub-Signature-256: sha256=…`, id in `X-GitHub-Delivery`. Any of the secrets may have signed, so that one can be replaced by
    /// another while both are valid.
    pub fn github(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Self::new(secrets, "x-hub-signature-256", "sha256=", "x-github-delivery")
    }

    /// Another provider with the same scheme: the signature's header and what stands before the hexadecimal digits, and the header of the id. Header
    /// names in lower case.
    pub fn new(
        secrets: impl IntoIterator<Item = Secret>,
        signature_header: &'static str,
        prefix: &'static str,
        id_header: &'static str,
    ) -> Result<Self, InvalidSecret> {
        let secrets: Vec<Secret> = secrets.into_iter().collect();
        let blank = secrets.iter().any(|secret| secret.expose().trim().is_empty());
        if secrets.is_empty() || secrets.len() > MAX_SECRETS || blank {
            return Err(InvalidSecret);
        }
        Ok(Self { secrets, signature_header, prefix, id_header })
    }

    fn signed(&self, body: &[u8], signature: &[u8; 32]) -> bool {
        // Every secret is tried, whichever matches: the time taken tells nothing.
        self.secrets.iter().fold(false, |found, secret| {
            // HMAC takes a key of any length.
            let Ok(mut mac) = Mac::<Sha256>::new_from_slice(secret.expose().as_bytes()) else { return found };
            mac.update(body);
            let expected: [u8; 32] = mac.finalize().into_bytes().into();
            found | bool::from(expected.ct_eq(signature))
        })
    }
}

impl Verifier for Hmac {
    fn verify(&self, headers: &HeaderMap, body: Bytes) -> Result<Verified<Delivery>, VerifyError> {
        let signature = one(headers, self.signature_header)?;
        let digits = signature.strip_prefix(self.prefix).and_then(from_hex);
        let signature = digits.ok_or(VerifyError::Malformed(self.signature_header))?;
        let id = one(headers, self.id_header)?;
        if id.is_empty() || id.len() > MAX_ID {
            return Err(VerifyError::Malformed(self.id_header));
        }
        if !self.signed(&body, &signature) {
            return Err(VerifyError::WrongSignature);
        }
        Ok(Verified::new(Delivery::new(id.to_owned(), body)))
    }
}

/// A header that stands exactly once: of two, a proxy and this server might each read another.
fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, VerifyError> {
    let mut all = headers.get_all(name).iter();
    let value = all.next().ok_or(VerifyError::Missing(name))?;
    if all.next().is_some() {
        return Err(VerifyError::Malformed(name));
    }
    value.to_str().map_err(|_| VerifyError::Malformed(name))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use proptest::prelude::*;

    use super::*;

    /// The example that GitHub publishes.
    const BODY: &str = "Hello, World!";
    const SECRET: &str = "It's a Secret to Everybody";
    const SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        pairs.iter().for_each(|(name, value)| {
            headers.append(*name, value.parse().unwrap());
        });
        headers
    }

    fn signed(signature: &str) -> HeaderMap {
        headers(&[("x-hub-signature-256", signature), ("x-github-delivery", "id-1")])
    }

    fn github(secrets: &[&str]) -> Hmac {
        Hmac::github(secrets.iter().map(|secret| Secret::new(*secret))).unwrap()
    }

    #[test]
    fn the_published_example_is_verified() {
        let delivery = github(&[SECRET]).verify(&signed(SIGNATURE), BODY.into()).unwrap();
        assert_eq!((delivery.id(), &delivery.body()[..]), ("id-1", BODY.as_bytes()));
        let upper = SIGNATURE.replace("sha256=", "").to_uppercase();
        assert!(github(&[SECRET]).verify(&signed(&format!("sha256={upper}")), BODY.into()).is_ok());
    }

    #[test]
    fn any_active_secret_may_have_signed() {
        assert!(github(&["the new one", SECRET]).verify(&signed(SIGNATURE), BODY.into()).is_ok());
        let refused = github(&["the new one"]).verify(&signed(SIGNATURE), BODY.into()).unwrap_err();
        assert_eq!((refused, refused.status()), (VerifyError::WrongSignature, StatusCode::UNAUTHORIZED));
        assert!(github(&[SECRET]).verify(&signed(SIGNATURE), "Hello, World?".into()).is_err());
    }

    #[test]
    fn headers_are_taken_strictly() {
        let (missing, malformed) =
            (VerifyError::Missing("x-hub-signature-256"), VerifyError::Malformed("x-hub-signature-256"));
        let table = [
            (headers(&[("x-github-delivery", "1")]), missing),
            (headers(&[("x-hub-signature-256", SIGNATURE)]), VerifyError::Missing("x-github-delivery")),
            (headers(&[("x-hub-signature-256", SIGNATURE), ("x-hub-signature-256", SIGNATURE)]), malformed),
            (signed("sha1=757107"), malformed),
            (signed(&SIGNATURE[..70]), malformed),
            (signed(&SIGNATURE.replace('7', "g")), malformed),
            (
                headers(&[("x-hub-signature-256", SIGNATURE), ("x-github-delivery", "")]),
                VerifyError::Malformed("x-github-delivery"),
            ),
        ];
        for (headers, expected) in table {
            assert_eq!(github(&[SECRET]).verify(&headers, BODY.into()), Err(expected), "{headers:?}");
        }
    }

    #[test]
    fn a_verifier_that_anybody_could_satisfy_is_not_made() {
        for secrets in [vec![], vec![""], vec!["good", " "], vec!["x"; 5]] {
            assert_eq!(Hmac::github(secrets.into_iter().map(Secret::new)).err(), Some(InvalidSecret));
        }
    }

    proptest! {
        #[test]
        fn no_header_and_no_body_make_it_panic(signature in "[ -~]{0,80}", body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = github(&[SECRET]).verify(&signed(&signature), body.into());
        }
    }
}
