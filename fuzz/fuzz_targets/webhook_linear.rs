//! Deliveries of Linear, with the time in the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, hex, secret, sha256};
use livos_integrations::webhook::Linear;

/// Of the twin's endpoint.
const SECRET: &str = "80206eb60ddb24e20127b677c81b30ef6bcc8a29c519f842924ef564e1d38e46";

fuzz_target!(|data: &[u8]| {
    let verifier = Linear::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "linear-signature",
        sign: &|_, body| vec![Signature::bare(hex(&sha256(SECRET.as_bytes(), &[body])))],
    }
    .check(data);
});
