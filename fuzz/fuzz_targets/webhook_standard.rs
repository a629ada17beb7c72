//! Deliveries by Standard Webhooks, with a shared secret and by Ed25519.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::webhooks::{Endpoint, Signature, base64, ed25519, sha256, standard_key, standard_signed};
use livos_integrations::webhook::StandardWebhooks;

/// Of the twin's endpoint with a shared secret.
const SECRET: &str = "whsec_8R3PNvDNdoXyWWAsMlNmp7edpVqdOSKl377LL6odCCQ=";
/// Of the one with a public key, and what the twin signs with there.
const PUBLIC: &str = "whpk_yisTQsDDakqIOtRxAeV4ifsY8mZKQ6nmQA1/EM2hU8E=";
const SEED: [u8; 32] = [
    222, 245, 196, 138, 174, 116, 245, 113, 210, 117, 171, 170, 219, 214, 181, 243, 243, 31, 212, 245, 208,
    2, 86, 85, 217, 201, 197, 33, 119, 173, 48, 38,
];

fuzz_target!(|data: &[u8]| {
    let verifier = StandardWebhooks::new([SECRET, PUBLIC].map(Secret::new)).expect("two keys");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "webhook-signature",
        sign: &|head, body| {
            let signed = standard_signed(&head.headers, "webhook", body);
            vec![
                Signature::after("v1,", base64(&sha256(&standard_key(SECRET), &[&signed]))),
                Signature::after("v1a,", base64(&ed25519(&SEED, &[&signed]))),
            ]
        },
    }
    .check(data);
});
