//! Deliveries of Svix, under headers of either family.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::{
    message::Message,
    webhooks::{Endpoint, Signature, base64, secret, sha256, standard_key, standard_signed},
};
use livos_integrations::webhook::Svix;

/// Of the twin's endpoint.
const SECRET: &str = "whsec_LFRC8yoavlfk7knoqt/rjhl1EIhzW0BzVH+BhHrKuo8=";

fuzz_target!(|data: &[u8]| {
    let verifier = Svix::new(secret(SECRET)).expect("a secret");
    let (family, header) = match Message::read(data).headers.contains_key("svix-id") {
        true => ("svix", "svix-signature"),
        false => ("webhook", "webhook-signature"),
    };
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header,
        sign: &|head, body| {
            let signed = standard_signed(&head.headers, family, body);
            vec![Signature::after("v1,", base64(&sha256(&standard_key(SECRET), &[&signed])))]
        },
    }
    .check(data);
});
