//! Every way in which a grant dies, and every way in which it only looks so.

use livos_integrations::oauth::{Alert, Ending, GrantState, TokenError};
use livos_twins::{
    Fault, Refusal, Target, Twin as _, When,
    google::{Answer, Config, Death, Publishing, Rotation},
};

use crate::world::{DAY, HOUR, MINUTE, SECOND, World};

/// Two processes share a grant, which dies; answers how it ended.
async fn dies(world: World, how: impl AsyncFnOnce(&World)) -> Ending {
    let (one, other) = (world.process(), world.process());
    world.connect(&one).await;
    tokio::time::sleep(MINUTE).await;
    assert!(world.is_good(other.source.token().await.unwrap().secret()).await);
    how(&world).await;
    let before = world.alerts().len();
    tokio::time::sleep(45 * MINUTE).await;
    let GrantState::NeedsConsent(ending) = one.source.status().state else {
        panic!("{:?}", one.source.status());
    };
    for process in [&one, &other] {
        assert_eq!(process.source.token().await.unwrap_err(), TokenError::NeedsConsent(ending.clone()));
        assert_eq!(process.source.status().state, GrantState::NeedsConsent(ending.clone()));
    }
    assert_eq!(world.alerts()[before..], [Alert::NeedsConsent(ending.clone())], "one alert in two processes");
    let refreshes = world.twin.stats().refreshes;
    one.keeper.abort();
    let restarted = world.process();
    tokio::time::sleep(DAY).await;
    assert!(restarted.source.token().await.is_err());
    assert_eq!(world.twin.stats().refreshes, refreshes, "what is dead is left alone");
    assert_eq!(world.alerts().len(), before + 1, "nobody is told twice");

    // And a new consent brings it back, in both: the other process looks within seconds when
    // somebody asks.
    world.connect(&restarted).await;
    tokio::time::sleep(10 * SECOND).await;
    for process in [&restarted, &other] {
        assert!(world.is_good(process.source.token().await.unwrap().secret()).await);
    }
    ending
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_grant_needs_a_consent_and_is_told_once() {
    let rapt = Ending::InvalidGrant(Some("invalid_rapt".into()));
    let ends = [
        (Death::Revoked, Ending::InvalidGrant(None)),
        (Death::Expired, Ending::InvalidGrant(None)),
        (Death::Idle, Ending::InvalidGrant(None)),
        (Death::PushedOut, Ending::InvalidGrant(None)),
        (Death::PasswordChanged, Ending::InvalidGrant(None)),
        (Death::AccountDeleted, Ending::InvalidGrant(None)),
        (Death::SessionControl, rapt),
        (Death::Reused, Ending::InvalidGrant(None)),
    ];
    for (death, expected) in ends {
        let world = World::new(Config::default());
        let ending = dies(world, async |world: &World| world.twin.end_grants(None, death)).await;
        assert_eq!(ending, expected, "{death:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_seventh_day_of_testing_is_foretold_and_then_it_comes() {
    let world = World::new(Config { publishing: Publishing::Testing, ..Config::default() });
    dies(world, async |world: &World| {
        tokio::time::sleep(5 * DAY + HOUR).await;
        let alerts = world.alerts();
        let [Alert::ConsentEnds { at }] = alerts[..] else { panic!("{alerts:?}") };
        assert!(at.since(world.now()) < 2 * DAY && at.since(world.now()) > 47 * HOUR - 2 * MINUTE);
        tokio::time::sleep(2 * DAY - HOUR).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn access_that_was_given_for_a_time_ends_with_it() {
    let world = World::new(Config { grant_lifetime: Some(3 * DAY), ..Config::default() });
    dies(world, async |world: &World| {
        tokio::time::sleep(2 * DAY).await;
        assert!(matches!(world.alerts()[..], [Alert::ConsentEnds { .. }]));
        // Until just before the end: a refresh might come right after it.
        tokio::time::sleep(DAY - 2 * MINUTE).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_consent_elsewhere_pushes_a_grant_out() {
    let world = World::new(Config::default());
    dies(world, async |world: &World| {
        for _ in 0..99 {
            world.twin.grant("anna@example.com", &["openid"]);
        }
        tokio::time::sleep(HOUR).await;
        assert_eq!(world.alerts(), [], "a hundred live");
        world.twin.grant("anna@example.com", &["openid"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_off_for_half_a_year_finds_its_grant_dead() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    process.keeper.abort();
    tokio::time::sleep(184 * DAY).await;
    let process = world.process();
    let error = process.source.token().await.unwrap_err();
    assert_eq!(error, TokenError::NeedsConsent(Ending::InvalidGrant(None)));
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.alerts(), [Alert::NeedsConsent(Ending::InvalidGrant(None))]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_ends_a_grant_only_where_the_provider_is_that_strict() {
    for (rotation, survives) in [(Rotation::Never, true), (Rotation::Gentle, true), (Rotation::Strict, false)]
    {
        let world = World::new(Config { rotation, ..Config::default() });
        let process = world.process();
        world.connect(&process).await;
        world.twin.answer_next(Answer::Lost);
        tokio::time::sleep(HOUR).await;
        assert_eq!(process.source.token().await.is_ok(), survives, "{rotation:?}");
        assert_eq!(world.alerts().is_empty(), survives);
    }
}

/// Something goes wrong at the next refreshes; the grant lives through it, callers notice nothing,
/// and nobody is told.
async fn survives(what: &str, goes_wrong: impl AsyncFn(&World)) {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    goes_wrong(&world).await;
    for _ in 0..30 {
        tokio::time::sleep(2 * MINUTE).await;
        let token = process.source.token().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(world.is_good(token.secret()).await, "{what}");
    }
    let stats = world.twin.stats();
    assert!(stats.refreshed >= 1, "{what}: {stats:?}");
    let status = process.source.status();
    assert_eq!((status.state, status.failures), (GrantState::Fresh, 0), "{what}");
    assert_eq!(world.alerts(), [], "{what}");
    process.keeper.abort();
    assert!(world.process().source.token().await.is_ok(), "{what}: a restart has it too");
}

#[tokio::test(start_paused = true)]
async fn what_only_looks_like_death_is_lived_through() {
    let answers = [
        Answer::Error("internal_failure".into()),
        Answer::Error("temporarily_unavailable".into()),
        Answer::HalfJson,
        Answer::Page,
        Answer::Empty,
        Answer::TextLifetime,
        Answer::NoLifetime,
        Answer::Lifetime(0),
        Answer::Lifetime(90),
        Answer::NoRefreshToken,
        Answer::NewRefreshToken,
        Answer::Slow(15 * SECOND),
        Answer::Slow(60 * SECOND),
        Answer::Mute,
        Answer::Lost,
    ];
    for answer in answers {
        let what = format!("{answer:?}");
        survives(&what, async |world: &World| world.twin.answer_next(answer.clone())).await;
    }
    for status in [400, 408, 429, 500, 502, 503, 504] {
        let html =
            Refusal { body: Some("<html>".into()), ..Refusal::status(status).header("retry-after", "30") };
        let what = status.to_string();
        // The calls of the test itself are refused too, so only what is under way for the refresh
        // is.
        survives(&what, async |world: &World| {
            tokio::time::sleep(27 * MINUTE).await;
            world.twin.refuse(1, html.clone());
            tokio::time::sleep(4 * MINUTE).await;
        })
        .await;
    }
    let faults = [
        Fault::Drop(When::Received(1)),
        Fault::Stall(When::Now),
        Fault::HalfMessage(When::Now),
        Fault::Garbage(When::Now),
    ];
    for fault in faults {
        let what = format!("{fault:?}");
        survives(&what, async |world: &World| {
            tokio::time::sleep(27 * MINUTE).await;
            world.twin.inject_into(Target::Next(1), fault.clone());
            tokio::time::sleep(4 * MINUTE).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn clocks_that_differ_change_nothing_and_are_seen() {
    for skew_ms in [-86_400_000i64, -300_000, 300_000, 86_400_000] {
        let world = World::new(Config::default());
        world.twin.set_skew(skew_ms);
        let process = world.process();
        world.connect(&process).await;
        for _ in 0..30 {
            assert!(world.is_good(process.source.token().await.unwrap().secret()).await);
            tokio::time::sleep(5 * MINUTE).await;
        }
        let seen = process.source.status().clock_skew_ms.unwrap();
        assert!((skew_ms - 1_000..=skew_ms + 1_000).contains(&seen), "{seen}");
        assert_eq!(world.twin.stats().refreshed, 5, "every half hour, neither more nor less");
        assert_eq!(world.alerts(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_clock_may_be_set_in_either_direction() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    for step in [-2 * 86_400_000i64, 5 * 86_400_000, -3 * 3_600_000] {
        let now = world.now().unix_ms();
        world.clock.set(livos_core::time::Timestamp::from_unix_ms(now + step));
        for _ in 0..40 {
            let token = process.source.token().await.unwrap();
            assert!(world.is_good(token.secret()).await, "{step}");
            tokio::time::sleep(3 * MINUTE).await;
        }
    }
    assert_eq!(world.alerts(), []);
}

#[tokio::test(start_paused = true)]
async fn a_refused_client_keeps_its_grant_until_it_is_mended() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    for _ in 0..8 {
        world.twin.answer_next(Answer::Error("invalid_client".into()));
    }
    tokio::time::sleep(90 * MINUTE).await;
    assert_eq!(process.source.status().state, GrantState::Misconfigured);
    let error = process.source.token().await.unwrap_err();
    assert_eq!(error, TokenError::Misconfigured("invalid_client".into()));
    assert_eq!(world.alerts(), [Alert::Misconfigured("invalid_client".into())]);
    tokio::time::sleep(2 * HOUR).await;
    assert!(world.is_good(process.source.token().await.unwrap().secret()).await);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_gone_is_told_once_and_a_consent_mends_it() {
    let mut world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    process.keeper.abort();
    let right = std::mem::replace(&mut world.ring, livos_core::seal::KeyRing::generate().unwrap());
    let blind = world.process();
    tokio::time::sleep(HOUR).await;
    let error = blind.source.token().await.unwrap_err();
    assert_eq!(error, TokenError::NeedsConsent(Ending::Unreadable));
    assert_eq!(world.alerts(), [Alert::NeedsConsent(Ending::Unreadable)]);
    blind.keeper.abort();
    // The right key comes back: nothing was written over it.
    let wrong = std::mem::replace(&mut world.ring, right);
    let process = world.process();
    assert!(world.is_good(process.source.token().await.unwrap().secret()).await);
    process.keeper.abort();
    world.ring = wrong;
    let blind = world.process();
    tokio::time::sleep(MINUTE).await;
    world.connect(&blind).await;
    assert!(world.is_good(blind.source.token().await.unwrap().secret()).await);
}
