//! Events and commands of Slack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, hex, secret, sha256, text};
use livos_integrations::webhook::Slack;

/// Of the twin's endpoint.
const SECRET: &str = "1ed078960b29d4a6a0fdcf81263d8a883e267ce9795a012d496ece20de8302a1";

fuzz_target!(|data: &[u8]| {
    let verifier = Slack::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "x-slack-signature",
        sign: &|head, body| {
            let time = text(&head.headers, "x-slack-request-timestamp").as_bytes();
            let proof = hex(&sha256(SECRET.as_bytes(), &[b"v0:", time, b":", body]));
            vec![Signature::after("v0=", proof)]
        },
    }
    .check(data);
});
