//! Deliveries of GitLab with a signing token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, base64, secret, sha256, standard_key, standard_signed};
use livos_integrations::webhook::GitLab;

/// Of the twin's endpoint.
const SECRET: &str = "whsec_3g6Wc5Mp2lp/TyBC6dNmi5TKCz9t45nnQExMbQYq1zw=";

fuzz_target!(|data: &[u8]| {
    let verifier = GitLab::signed(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "webhook-signature",
        sign: &|head, body| {
            let signed = standard_signed(&head.headers, "webhook", body);
            vec![Signature::after("v1,", base64(&sha256(&standard_key(SECRET), &[&signed])))]
        },
    }
    .check(data);
});
