//! Interactions and webhook events of Discord.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, ed25519, hex, text};
use livos_integrations::webhook::{Discord, Verifier};

/// The public keys of the twin's applications, and what it signs with: for interactions, for
/// events.
const INTERACTIONS: &str = "9f4b5c9c84738c7cb8d180e63438d846b3242d57dd46d3744b8c22fccf2fba74";
const INTERACTIONS_SEED: [u8; 32] = [
    3, 31, 33, 170, 116, 200, 153, 166, 209, 3, 106, 254, 171, 36, 168, 95, 33, 140, 137, 71, 159, 166, 183,
    184, 42, 134, 240, 186, 14, 126, 133, 244,
];
const EVENTS: &str = "df73f39974069d79b0209281a7e392dbaa69deb2315ef3d68971cdd82e1f2806";
const EVENTS_SEED: [u8; 32] = [
    200, 214, 184, 97, 199, 170, 201, 48, 20, 152, 155, 191, 133, 172, 90, 13, 161, 162, 122, 166, 185, 181,
    188, 12, 142, 95, 166, 176, 188, 51, 244, 79,
];

fn check(data: &[u8], verifier: &dyn Verifier, seed: &[u8; 32]) {
    Endpoint {
        verifier,
        secrets: &[],
        header: "x-signature-ed25519",
        sign: &|head, body| {
            let time = text(&head.headers, "x-signature-timestamp");
            vec![Signature::bare(hex(&ed25519(seed, &[time.as_bytes(), body])))]
        },
    }
    .check(data);
}

fuzz_target!(|data: &[u8]| {
    check(data, &Discord::interactions([INTERACTIONS]).expect("a key"), &INTERACTIONS_SEED);
    check(data, &Discord::events([EVENTS]).expect("a key"), &EVENTS_SEED);
});
