//! Any answer of a token endpoint: tokens that can stand in a header, or an error that tells no
//! secret.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::{
    message::Message,
    oauth::{self, CLIENT_SECRET},
    peer,
};
use livos_integrations::oauth::{EndpointError, Tokens};

const CODE: &str = "4-the-code-of-the-consent";
const VERIFIER: &str = "the-verifier-of-the-challenge-of-the-consent";
const REFRESH: &str = "1-the-refresh-token";

/// Ten years: what sums of times can bear.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The result of a request that carried these secrets and the client's.
fn check(answer: &Message, secrets: &[&str], result: Result<Tokens, EndpointError>) {
    let written = String::from_utf8_lossy(&answer.body);
    match result {
        Ok(tokens) => {
            for token in [Some(&tokens.access_token), tokens.refresh_token.as_ref()].into_iter().flatten() {
                let token = token.expose();
                assert!(
                    (1..=8192).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
                );
                let stands_elsewhere = token.len() < 8 || written.matches(token).count() != 1;
                assert!(stands_elsewhere || !format!("{tokens:?}").contains(token), "{tokens:?}");
            }
            let lifetimes = [tokens.lifetime, tokens.refresh_lifetime];
            assert!(lifetimes.into_iter().flatten().all(|lifetime| lifetime <= LONGEST));
        }
        Err(error) => oauth::check_error(&error, &[secrets, &[CLIENT_SECRET]].concat()),
    }
}

fuzz_target!(|data: &[u8]| {
    let answer = Message::read(data);
    let endpoint = oauth::endpoint(&answer);
    peer::run(async {
        let (code, verifier, refresh) = (Secret::new(CODE), Secret::new(VERIFIER), Secret::new(REFRESH));
        check(&answer, &[CODE, VERIFIER], endpoint.exchange(&code, &verifier).await);
        check(&answer, &[REFRESH], endpoint.refresh(&refresh).await);
        if let Err(error) = endpoint.revoke(&refresh).await {
            check(&answer, &[REFRESH], Err(error));
        }
    });
});
