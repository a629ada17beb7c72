//! Deliveries of Shopify.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, base64, secret, sha256};
use livos_integrations::webhook::Shopify;

/// Of the twin's endpoint.
const SECRET: &str = "d8f9a9c86aa682f14304b2009fe6d89d00eeb2e2ee34e2cca0e2e31101414bba";

fuzz_target!(|data: &[u8]| {
    let verifier = Shopify::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "x-shopify-hmac-sha256",
        sign: &|_, body| vec![Signature::bare(base64(&sha256(SECRET.as_bytes(), &[body])))],
    }
    .check(data);
});
