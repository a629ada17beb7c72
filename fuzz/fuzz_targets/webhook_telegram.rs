//! Updates of Telegram, which a shared secret comes with.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_fuzz::webhooks::{Endpoint, Signature, secret};
use livos_integrations::webhook::Telegram;

/// Of the twin's endpoint.
const SECRET: &str = "9fd03493edb441aceac9eda7b9426727b5f112e725f37228f8ab3656f6888de0";

fuzz_target!(|data: &[u8]| {
    let verifier = Telegram::new(secret(SECRET)).expect("a secret");
    Endpoint {
        verifier: &verifier,
        secrets: &[SECRET],
        header: "x-telegram-bot-api-secret-token",
        sign: &|_, _| vec![Signature::bare(SECRET)],
    }
    .check(data);
});
