//! Any callback of a consent, in any browser: only the one that began it, with its state, finishes
//! it, and once.
//!
//! `STATE` in the query and `BROWSER` in the cookie stand for what was begun; the body and the
//! status are what the token endpoint answers.
#![no_main]

use std::sync::Arc;

use http::{Request, header};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use livos_core::{
    seal::{KeyRing, SealedStore},
    time::ManualClock,
};
use livos_fuzz::{
    law::Time,
    memory::Memory,
    message::Message,
    oauth::{self, CLIENT_SECRET},
    peer, webhooks,
};
use livos_integrations::oauth::{CallbackPage, Consents, FinishedBy};
use tower::ServiceExt;

/// What was begun: the state, and what the browser holds.
async fn begin(consents: &Consents) -> (String, String) {
    let begun = consents.begin("google/owner", None, FinishedBy::SameBrowser).await.expect("a store");
    let query = begun.location.query().expect("a query");
    let state = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "state");
    let (_, state) = state.expect("a state");
    (state.into_owned(), begun.browser.expect("the same browser").expose().to_owned())
}

fuzz_target!(|data: &[u8]| {
    let callback = Message::read(data);
    let cookie = webhooks::text(&callback.headers, "cookie");
    let ring = KeyRing::generate().expect("randomness");
    let store = SealedStore::new(Arc::new(Memory::default()), ring);
    let clock = Arc::new(ManualClock::new(Time::start()));
    let consents = Consents::new(oauth::endpoint(&callback), store, clock);
    peer::run(async {
        let (state, browser) = begin(&consents).await;
        let query = callback.query.replace("STATE", &state);
        let shown = cookie.trim_start_matches("livos_oauth=").replace("BROWSER", &browser);
        match consents.finish(&query, Some(&shown)).await {
            Ok(finished) => {
                assert_eq!((finished.grant.as_str(), shown.as_str()), ("google/owner", browser.as_str()));
                assert!(query.contains(&state) && finished.tokens.refresh_token.is_some());
            }
            Err(error) => {
                // Who calls is told the error that they called with.
                let said: Vec<_> = form_urlencoded::parse(query.as_bytes()).map(|(_, value)| value).collect();
                let mut secrets = vec![state.as_str(), &browser, CLIENT_SECRET];
                secrets.retain(|secret| !said.iter().any(|value| value.contains(secret)));
                oauth::check_error(&error, &secrets);
            }
        }
        assert!(consents.finish(&query, Some(&browser)).await.is_err(), "a state is for one use");

        // The page: no grant is kept here, so nobody is told that it is connected.
        let (state, browser) = begin(&consents).await;
        let uri = format!("/oauth/callback?{}", callback.query.replace("STATE", &state));
        let request = Request::get(uri).header(header::COOKIE, cookie.replace("BROWSER", &browser));
        let Ok(request) = request.body(()) else { return };
        let page = CallbackPage::new(consents, []).oneshot(request).await.expect("a page");
        assert!(page.status().is_client_error() || page.status().is_server_error(), "{}", page.status());
        let html = page.into_body().collect().await.expect("a body").to_bytes();
        let html = String::from_utf8_lossy(&html);
        assert!(![state, browser].iter().any(|secret| html.contains(secret)), "{html}");
    });
});
