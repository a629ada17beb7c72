//! Deliveries of GitHub.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, hex, secret, sha256};
use livos_integrations::webhook::GitHub;

/// Of the twin's endpoint.
const SECRET: &str = "6f3a2d4302e9a30548b157cfd1869381225b882cc368ab7e590c36576c65e880";

fuzz_target!(|data: &[u8]| {
    let verifier = GitHub::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "x-hub-signature-256",
        sign: &|_, body| vec![Signature::after("sha256=", hex(&sha256(SECRET.as_bytes(), &[body])))],
    }
    .check(data);
});
