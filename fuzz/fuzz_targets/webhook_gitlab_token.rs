//! Deliveries of GitLab with a plain secret, which covers nothing of the body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, secret};
use livos_integrations::webhook::GitLab;

/// Of the twin's endpoint.
const SECRET: &str = "c83e1100bc4e8cbd8a0220ecd0a11d7487d0fffe2758ba7b559c26e25e05761a";

fuzz_target!(|data: &[u8]| {
    let verifier = GitLab::token(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "x-gitlab-token",
        sign: &|_, _| vec![Signature::bare(SECRET)],
    }
    .check(data);
});
