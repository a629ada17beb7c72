//! Tokens signed with RS256, and the keys that check them.

use std::sync::atomic::{AtomicUsize, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::RSA_PKCS1_SHA256,
};
use serde_json::{Map, Value, json};

/// A key with its certificate. They are committed: what they sign is trusted in tests only.
const KEYS: [(&str, &[u8], &str); 3] = [
    ("1f7a0c63d1e84b0fa2c5e1d0a9b8c7d6e5f40001", include_bytes!("keys/1.der"), include_str!("keys/1.pem")),
    ("2f7a0c63d1e84b0fa2c5e1d0a9b8c7d6e5f40002", include_bytes!("keys/2.der"), include_str!("keys/2.pem")),
    ("3f7a0c63d1e84b0fa2c5e1d0a9b8c7d6e5f40003", include_bytes!("keys/3.der"), include_str!("keys/3.pem")),
];

struct Key {
    id: &'static str,
    pair: KeyPair,
    certificate: &'static str,
}

/// Signs with one key at a time, and publishes it and the one before.
pub(super) struct Signer {
    keys: Vec<Key>,
    rotations: AtomicUsize,
}

impl Signer {
    pub(super) fn new() -> Self {
        let keys = KEYS.iter().filter_map(|(id, der, certificate)| {
            let pair = KeyPair::from_der(der).ok()?;
            Some(Key { id, pair, certificate })
        });
        Self { keys: keys.collect(), rotations: AtomicUsize::new(0) }
    }

    pub(super) fn rotate(&self) {
        self.rotations.fetch_add(1, Ordering::SeqCst);
    }

    fn current(&self) -> &Key {
        &self.keys[self.rotations.load(Ordering::SeqCst) % self.keys.len()]
    }

    fn published(&self) -> [&Key; 2] {
        let at = self.rotations.load(Ordering::SeqCst) + self.keys.len();
        [&self.keys[at % self.keys.len()], &self.keys[(at - 1) % self.keys.len()]]
    }

    /// The compact form of a token with these claims.
    pub(super) fn sign(&self, claims: &Value) -> String {
        let key = self.current();
        let head = json!({ "alg": "RS256", "kid": key.id, "typ": "JWT" });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(claims));
        let mut signature = vec![0; key.pair.public().modulus_len()];
        // The randomness blinds the computation; the signature is the same every time.
        let done = key.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature);
        if done.is_err() {
            signature.clear();
        }
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// A JWK set.
    pub(super) fn key_set(&self) -> Value {
        let keys = self.published().map(|key| {
            let public: PublicKeyComponents<Vec<u8>> = key.pair.public().into();
            json!({
                "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key.id,
                "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
            })
        });
        json!({ "keys": keys })
    }

    /// Certificates by key id.
    pub(super) fn certificates(&self) -> Value {
        let pairs = self.published().map(|key| (key.id.to_owned(), Value::from(key.certificate)));
        Value::Object(Map::from_iter(pairs))
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").field("current", &self.current().id).finish_non_exhaustive()
    }
}
