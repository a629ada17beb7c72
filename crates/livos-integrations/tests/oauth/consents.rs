//! From the page of the server to the provider and back.

use http::{HeaderMap, header};
use livos_integrations::oauth::{Account, CallbackPage, ConsentError, FinishedBy, GrantState, StartPage};
use livos_twins::{
    Twin as _,
    google::{Answer, Config, Consent},
};

use crate::world::{CALLBACK, HOUR, MINUTE, World, get};

fn world() -> World {
    World::new(Config::default())
}

fn cookie_of(headers: &HeaderMap) -> String {
    let set = headers[header::SET_COOKIE].to_str().unwrap();
    assert!(set.contains("; HttpOnly; SameSite=Lax; ") && set.ends_with("; Secure"), "{set}");
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_consent_that_one_process_begins_another_one_finishes() {
    let world = world();
    let (one, other) = (world.process(), world.process());
    let (status, headers, _) =
        get(StartPage::new(world.consents(), one.source.clone()), "/start", None).await;
    let location = headers[header::LOCATION].to_str().unwrap();
    assert!(
        status == 303
            && location.contains("code_challenge_method=S256")
            && location.contains("prompt=consent")
    );
    let cookie = cookie_of(&headers);
    let query = world.browse(&location.parse().unwrap()).await;

    let callback = CallbackPage::new(world.consents(), [other.source.clone()]);
    let (status, headers, page) = get(callback, &format!("{CALLBACK}?{query}"), Some(&cookie)).await;
    assert!(status == 200 && page.contains("Connected"), "{page}");
    assert!(
        headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"),
        "the cookie has done its work"
    );
    assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");

    for process in [&other, &one] {
        tokio::time::sleep(MINUTE).await;
        let token = process.source.token().await.unwrap();
        assert!(world.is_good(token.secret()).await);
        let status = process.source.status();
        assert_eq!(
            (status.state, status.account.unwrap().email.as_deref()),
            (GrantState::Fresh, Some("anna@example.com"))
        );
    }
    assert_eq!(world.twin.stats().exchanges, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_in_the_store_can_be_read_and_nothing_shows_itself() {
    let world = world();
    let process = world.process();
    world.connect(&process).await;
    let begun = world.consents().begin("google/anna", None, FinishedBy::SameBrowser).await.unwrap();
    let token = process.source.token().await.unwrap();
    let bytes = String::from_utf8_lossy(&world.store.bytes()).into_owned();
    for secret in
        ["ya29", "1//0", "verifier", token.secret().expose(), begun.browser.as_ref().unwrap().expose()]
    {
        assert!(!bytes.contains(secret), "{secret}");
    }
    let shown = format!(
        "{:?} {begun:?} {token:?} {:?} {:?}",
        process.source,
        world.consents(),
        process.source.status()
    );
    for secret in [token.secret().expose(), "ya29", "GOCSPX", begun.browser.as_ref().unwrap().expose()] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// Begins a consent, lets the person do something with it, and answers why it was refused.
async fn refused(world: &World, expects: Option<&Account>, change: impl Fn(&str) -> String) -> ConsentError {
    let consents = world.consents();
    let begun = consents.begin("google/anna", expects, FinishedBy::AnyBrowser).await.unwrap();
    let query = world.browse(&begun.location).await;
    consents.finish(&change(&query), None).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn a_consent_to_less_or_to_nothing_is_refused() {
    let world = world();
    world.twin.consent_next(Consent::Deny);
    let error = refused(&world, None, str::to_owned).await;
    assert!(matches!(&error, ConsentError::Denied(name) if name == "access_denied"), "{error:?}");

    let gmail = livos_integrations::oauth::google::GMAIL_MODIFY.to_owned();
    world.twin.consent_next(Consent::Without(vec![gmail.clone()]));
    let error = refused(&world, None, str::to_owned).await;
    assert!(matches!(&error, ConsentError::MissingScopes(missing) if *missing == [gmail]), "{error:?}");

    world.twin.answer_next(Answer::NoRefreshToken);
    let error = refused(&world, None, str::to_owned).await;
    assert!(matches!(error, ConsentError::NoRefreshToken), "{error:?}");

    let process = world.process();
    world.connect(&process).await;
    let anna = process.source.status().account.unwrap();
    world.twin.consent_next(Consent::As("ben@example.com".into()));
    let error = refused(&world, Some(&anna), str::to_owned).await;
    assert!(matches!(error, ConsentError::OtherAccount), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_state_works_once_in_one_browser_for_ten_minutes() {
    let world = world();
    let consents = world.consents();
    let begun = consents.begin("google/anna", None, FinishedBy::AnyBrowser).await.unwrap();
    let query = world.browse(&begun.location).await;
    consents.finish(&query, None).await.unwrap();
    let error = consents.finish(&query, None).await.unwrap_err();
    assert!(matches!(error, ConsentError::UnknownState), "{error:?}");
    assert_eq!(world.twin.stats().exchanges, 1, "the code is not even shown to the provider");

    // A link from elsewhere: the browser has no cookie, or another one.
    for browser in [None, Some("guess")] {
        let begun = consents.begin("google/anna", None, FinishedBy::SameBrowser).await.unwrap();
        let query = world.browse(&begun.location).await;
        let error = consents.finish(&query, browser).await.unwrap_err();
        assert!(matches!(error, ConsentError::OtherBrowser), "{error:?}");
        let right = begun.browser.as_ref().map(livos_core::secret::Secret::expose);
        let error = consents.finish(&query, right).await.unwrap_err();
        assert!(matches!(error, ConsentError::UnknownState), "a guess uses it up: {error:?}");
    }

    let begun = consents.begin("google/anna", None, FinishedBy::AnyBrowser).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    let query = world.browse(&begun.location).await;
    assert!(matches!(consents.finish(&query, None).await, Err(ConsentError::UnknownState)));
}

#[tokio::test(start_paused = true)]
async fn of_many_callbacks_with_one_state_one_is_served() {
    let world = world();
    let begun = world.consents().begin("google/anna", None, FinishedBy::AnyBrowser).await.unwrap();
    let query = world.browse(&begun.location).await;
    let calls = (0..20).map(|_| {
        let (consents, query) = (world.consents(), query.clone());
        tokio::spawn(async move { consents.finish(&query, None).await.is_ok() })
    });
    let mut served = 0;
    for call in calls.collect::<Vec<_>>() {
        served += u32::from(call.await.unwrap());
    }
    assert_eq!((served, world.twin.stats().exchanges), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn callbacks_are_read_strictly() {
    let world = world();
    let malformed = |change: fn(&str) -> String| {
        let world = &world;
        async move {
            let error = refused(world, None, change).await;
            assert!(matches!(error, ConsentError::Malformed(_)), "{error:?}");
        }
    };
    malformed(|query| format!("{query}&state=another")).await;
    malformed(|query| format!("{query}&code=another")).await;
    malformed(|query| format!("{query}&error=access_denied")).await;
    malformed(|query| query.replace("state=", "stat=")).await;
    malformed(|query| query.replace("code=", "cod=")).await;
    malformed(|query| format!("{query}&iss=")).await;
    malformed(|query| format!("{query}&x={}", "y".repeat(20_000))).await;
    let mixed_up = |query: &str| query.replace("accounts.google.com", "evil.example");
    assert!(matches!(refused(&world, None, mixed_up).await, ConsentError::OtherProvider));
    let other_code = |query: &str| query.replace("code=4", "code=5");
    assert!(matches!(refused(&world, None, other_code).await, ConsentError::Exchange(_)));
    assert!(matches!(refused(&world, None, |_| "state=x&code=y".into()).await, ConsentError::UnknownState));
}

#[tokio::test(start_paused = true)]
async fn the_pages_say_what_went_wrong_and_nothing_secret() {
    let world = world();
    let process = world.process();
    let callback = CallbackPage::new(world.consents(), [process.source.clone()]);
    let (status, _, page) = get(callback.clone(), "/callback?state=s-123&code=c-123", None).await;
    assert!(status == 400 && page.contains("Begin again") && !page.contains("123"), "{page}");
    world.store.set_fails(true);
    let (status, ..) = get(StartPage::new(world.consents(), process.source.clone()), "/start", None).await;
    assert_eq!(status, 503);
    let (status, ..) = get(callback.clone(), "/callback?state=s&code=c", None).await;
    assert_eq!(status, 503);
    let post = http::Request::post("/callback").body(()).unwrap();
    let refused = tower::ServiceExt::oneshot(callback, post).await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()[header::ALLOW]),
        (405, &"GET".parse().unwrap())
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_while_somebody_consents_loses_nothing() {
    let world = world();
    let process = world.process();
    let (_, headers, _) = get(StartPage::new(world.consents(), process.source.clone()), "/start", None).await;
    let cookie = cookie_of(&headers);
    let location = headers[header::LOCATION].to_str().unwrap();
    let query = world.browse(&location.parse().unwrap()).await;
    let finished =
        world.consents().finish(&query, cookie.split_once('=').map(|(_, value)| value)).await.unwrap();
    world.store.set_fails(true);
    assert!(!process.source.grant(finished.tokens).await.unwrap(), "it says that it is not saved");
    assert!(process.source.status().unsaved);
    assert!(world.is_good(process.source.token().await.unwrap().secret()).await, "and it works");
    tokio::time::sleep(HOUR).await;
    world.store.set_fails(false);
    tokio::time::sleep(MINUTE).await;
    assert!(!process.source.status().unsaved);
    process.keeper.abort();
    assert!(
        world.is_good(world.process().source.token().await.unwrap().secret()).await,
        "a restart has it too"
    );
    assert_eq!(world.alerts(), []);
}

#[tokio::test(start_paused = true)]
async fn a_disconnected_account_is_gone_here_and_there() {
    let world = world();
    let process = world.process();
    world.connect(&process).await;
    let token = process.source.token().await.unwrap();
    world.twin.refuse(2, livos_twins::Refusal::status(503));
    assert!(process.source.disconnect().await.unwrap());
    assert!(process.source.token().await.is_err());
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.twin.stats().revocations, 1, "told until it listened");
    assert!(!world.is_good(token.secret()).await);
    assert_eq!(world.alerts(), [], "the person did it, and knows");
    world.connect(&process).await;
    let first = process.source.token().await.unwrap();
    assert!(world.is_good(first.secret()).await);
    world.connect(&process).await;
    let second = process.source.token().await.unwrap();
    assert!(second.serial() > first.serial(), "once a consent is taken, its token is the one that is given");
}
