//! Requests of Twilio: forms, and other bodies whose hash the signed query has.
#![no_main]

use hmac::{Hmac, KeyInit, Mac};
use http::{Method, request::Parts};
use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::webhooks::{Endpoint, Signature, URL, base64, hex, text};
use livos_integrations::webhook::Twilio;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Of the twin's endpoints, for forms and for JSON.
const SECRETS: [&str; 2] = [
    "0f6464b9bd228ec76ea2e2f17347aefeb045be0456c180d0e9543f7d8fb5ab21",
    "9c68bd02fa5d0b43cf50c1d67495a9a3612f5eb5436a24aa91c398ba96ae464a",
];

/// What Twilio signs of a request that it could send.
fn signed(head: &Parts, body: &[u8]) -> Option<String> {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut signed = format!("{URL}{query}");
    let hash = query.trim_start_matches('?').split('&').find_map(|pair| pair.strip_prefix("bodySHA256="));
    if let Some(hash) = hash {
        return hash.eq_ignore_ascii_case(&hex(&Sha256::digest(body))).then_some(signed);
    }
    let kind = text(&head.headers, "content-type").split(';').next().unwrap_or_default();
    if kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") && head.method != Method::GET {
        let mut pairs: Vec<_> = form_urlencoded::parse(body).collect();
        pairs.sort();
        pairs.dedup();
        pairs.iter().for_each(|(name, value)| signed.extend([&**name, &**value]));
    }
    // Twilio sends text.
    (!signed.contains(char::REPLACEMENT_CHARACTER)).then_some(signed)
}

fuzz_target!(|data: &[u8]| {
    let verifier = Twilio::new(SECRETS.map(Secret::new), URL).expect("secrets");
    Endpoint {
        verifier: &verifier,
        secrets: &SECRETS,
        header: "x-twilio-signature",
        sign: &|head, body| {
            let Some(signed) = signed(head, body) else { return Vec::new() };
            let sign = |secret: &str| {
                let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes()).expect("any length");
                Signature::bare(base64(&mac.chain_update(&signed).finalize().into_bytes()))
            };
            SECRETS.map(sign).into()
        },
    }
    .check(data);
});
