//! Reads a set of keys, and how long it is fresh.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use serde::Deserialize;

/// Keys of a set that are kept. Google has two or three.
const MAX_KEYS: usize = 32;

/// A public RSA key for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(Arc<Parts>);

#[derive(Debug, PartialEq, Eq)]
struct Parts {
    kid: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Key {
    /// Its id.
    pub fn kid(&self) -> &str {
        &self.0.kid
    }

    pub(in super::super) fn modulus(&self) -> &[u8] {
        &self.0.modulus
    }

    pub(in super::super) fn exponent(&self) -> &[u8] {
        &self.0.exponent
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Entry {
    kty: String,
    kid: String,
    n: String,
    e: String,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    purpose: Option<String>,
}

/// The keys of a set that can check RS256; others are passed over. None where it is no set, or has
/// no such key.
pub(super) fn keys(document: &[u8]) -> Option<Vec<Key>> {
    let document: Document = serde_json::from_slice(document).ok()?;
    let keys: Vec<Key> = document.keys.into_iter().filter_map(key).take(MAX_KEYS).collect();
    (!keys.is_empty()).then_some(keys)
}

fn key(value: serde_json::Value) -> Option<Key> {
    let entry: Entry = serde_json::from_value(value).ok()?;
    let fits = entry.kty == "RSA"
        && entry.alg.is_none_or(|alg| alg == "RS256")
        && entry.purpose.is_none_or(|purpose| purpose == "sig");
    let (modulus, exponent) = (URL_SAFE_NO_PAD.decode(entry.n).ok()?, URL_SAFE_NO_PAD.decode(entry.e).ok()?);
    // 2048 to 8192 bits, which is what is checked with.
    let sound = (256..=1024).contains(&modulus.len()) && (1..=8).contains(&exponent.len());
    (fits && sound).then(|| Key(Arc::new(Parts { kid: entry.kid, modulus, exponent })))
}

/// For how long the server says it is fresh.
pub(super) fn max_age(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::CACHE_CONTROL)?.to_str().ok()?;
    let mut directives = value.split(',').map(str::trim);
    let seconds = directives.find_map(|directive| directive.strip_prefix("max-age="))?;
    Some(Duration::from_secs(seconds.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_for_something_else_are_passed_over() {
        let modulus = URL_SAFE_NO_PAD.encode([7; 256]);
        let entry = |kid: &str, kty: &str, alg: &str, purpose: &str, n: &str| json!({ "kid": kid, "kty": kty, "alg": alg, "use": purpose, "n": n, "e": "AQAB" });
        let set = json!({ "keys": [
            entry("right", "RSA", "RS256", "sig", &modulus),
            entry("curve", "EC", "RS256", "sig", &modulus),
            entry("other", "RSA", "RS512", "sig", &modulus),
            entry("enc", "RSA", "RS256", "enc", &modulus),
            entry("short", "RSA", "RS256", "sig", "AAAA"),
            { "kty": "RSA" }, 5,
        ]});
        let found = keys(set.to_string().as_bytes()).unwrap();
        assert_eq!(found.iter().map(Key::kid).collect::<Vec<_>>(), ["right"]);
        assert_eq!(keys(br#"{"keys":[]}"#), None);
    }

    #[test]
    fn the_age_is_one_directive_of_several() {
        let age =
            |text: &str| max_age(&[(header::CACHE_CONTROL, text.parse().unwrap())].into_iter().collect());
        assert_eq!(age("public, max-age=19845, must-revalidate"), Some(Duration::from_secs(19845)));
        assert_eq!(age("no-store"), None);
        assert_eq!(age("max-age=-1"), None);
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(document in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = keys(&document);
        }
    }
}
