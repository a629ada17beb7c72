//! Events of Stripe, which sends the time next to the signature.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, hex, secret, sha256, text};
use livos_integrations::webhook::Stripe;

/// Of the twin's endpoint.
const SECRET: &str = "whsec_VKC0VbR2emrDBLLvJ85JKtIPLgAW3uJMFiXW1NloXp4=";

fuzz_target!(|data: &[u8]| {
    let verifier = Stripe::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "stripe-signature",
        sign: &|head, body| {
            let mut items =
                text(&head.headers, "stripe-signature").split(',').filter_map(|item| item.split_once('='));
            let time = items.find(|(name, _)| *name == "t").map_or("1800000000", |(_, time)| time);
            let proof = hex(&sha256(SECRET.as_bytes(), &[time.as_bytes(), b".", body]));
            vec![Signature::after(&format!("t={time},v1="), proof)]
        },
    }
    .check(data);
});
