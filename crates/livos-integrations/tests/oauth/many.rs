//! Many callers and several processes: one refresh.

use std::sync::atomic::Ordering;

use livos_integrations::oauth::{BearerError, BearerLayer, GrantState, Replay, TokenError};
use livos_twins::google::{Answer, Config, Death, Rotation};
use tower::{Layer, ServiceExt};

use crate::world::{HOUR, MINUTE, Process, SECOND, World, http};

/// So many callers in each process ask at one time; answers how many different tokens they got.
async fn ask(world: &World, processes: &[&Process], callers: usize) -> usize {
    let asked: Vec<_> = processes
        .iter()
        .flat_map(|process| (0..callers).map(|_| process.source.clone()))
        .map(|source| tokio::spawn(async move { source.token().await }))
        .collect();
    let mut tokens = std::collections::BTreeSet::new();
    for answer in asked {
        let token = answer.await.unwrap().unwrap();
        tokens.insert(token.secret().expose().to_owned());
    }
    for token in &tokens {
        assert!(world.is_good(&livos_core::secret::Secret::new(token.clone())).await);
    }
    tokens.len()
}

/// Connected for two minutes, and an API refused the token: the refresh takes so long as the
/// provider likes.
async fn refreshing(world: &World, answer: Answer) -> Process {
    let process = world.process();
    world.connect(&process).await;
    tokio::time::sleep(2 * MINUTE).await;
    let token = process.source.token().await.unwrap();
    world.twin.answer_next(answer);
    process.source.rejected(&token).await.unwrap();
    process
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_cause_one_refresh() {
    let world = World::new(Config::default());
    let process = refreshing(&world, Answer::Slow(3 * SECOND)).await;
    assert_eq!(ask(&world, &[&process], 100).await, 1);
    assert_eq!(world.twin.stats().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_callers_in_each_of_three_processes_cause_one_refresh_also_where_tokens_rotate() {
    for rotation in [Rotation::Never, Rotation::Gentle, Rotation::Strict] {
        let world = World::new(Config { rotation, ..Config::default() });
        let first = world.process();
        world.connect(&first).await;
        let (second, third) = (world.process(), world.process());
        let processes = [&first, &second, &third];
        assert_eq!(ask(&world, &processes, 100).await, 1);
        // The server was off for an hour: the token is over, and all ask at once.
        for process in processes {
            process.keeper.abort();
        }
        tokio::time::sleep(2 * HOUR).await;
        let processes = [world.process(), world.process(), world.process()];
        world.twin.answer_next(Answer::Slow(3 * SECOND));
        assert_eq!(ask(&world, &processes.each_ref(), 100).await, 1, "{rotation:?}");
        assert_eq!(world.twin.stats().refreshes, 1);
        tokio::time::sleep(10 * HOUR).await;
        let refreshes = world.twin.stats().refreshes;
        assert!((20..=24).contains(&refreshes), "once for all of them every half hour: {refreshes}");
        assert_eq!(world.alerts(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_once_and_each_request_is_sent_again() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    tokio::time::sleep(2 * MINUTE).await;
    // The provider forgot its access tokens, and only those.
    world.twin.forget_access_tokens();
    let calls = (0..100).map(|_| world.call(&process, "once more"));
    for answer in futures_util::future::join_all(calls).await {
        let (status, body) = answer.unwrap();
        assert!(status == 200 && body.contains("anna@example.com"), "{status} {body}");
    }
    assert_eq!(world.twin.stats().refreshes, 1);
}

#[tokio::test(start_paused = true)]
async fn an_api_that_refuses_fresh_tokens_is_not_asked_for_ever() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    tokio::time::sleep(2 * MINUTE).await;
    let refusing = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
        let response =
            http::Response::builder().status(401).body(http_body_util::Full::<bytes::Bytes>::default());
        Ok::<_, std::convert::Infallible>(response.unwrap())
    });
    let api = BearerLayer::new(process.source.clone(), ["mail.example"]).layer(refusing);
    for _ in 0..50 {
        let request =
            http::Request::get("https://mail.example/").body(http_body_util::Full::default()).unwrap();
        assert_eq!(api.clone().oneshot(request).await.unwrap().status(), 401);
    }
    assert_eq!(world.twin.stats().refreshes, 1, "one in a minute");
}

/// A body that is gone once it was sent.
struct Stream;

impl Replay for Stream {
    fn replay(&self) -> Option<Self> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_can_not_be_replayed_is_sent_once_and_the_next_request_has_a_new_token() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    tokio::time::sleep(2 * MINUTE).await;
    world.twin.forget_access_tokens();
    let api = {
        let twin = world.twin.clone();
        tower::service_fn(move |request: http::Request<Stream>| {
            http(&twin).oneshot(request.map(|_| http_body_util::Full::default()))
        })
    };
    let api = BearerLayer::new(process.source.clone(), ["127.0.0.1:1"]).layer(api);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        let request = http::Request::get("http://127.0.0.1:1/v1/userinfo").body(Stream).unwrap();
        statuses.push(api.clone().oneshot(request).await.unwrap().status().as_u16());
    }
    assert_eq!((statuses, world.twin.stats().refreshes), (vec![401, 200], 1));
}

#[tokio::test(start_paused = true)]
async fn a_token_goes_to_its_own_hosts_and_over_protected_ways_only() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    let never = tower::service_fn(|_: http::Request<http_body_util::Empty<bytes::Bytes>>| async {
        panic!("it was sent");
        #[allow(unreachable_code)]
        Ok::<http::Response<()>, std::convert::Infallible>(http::Response::new(()))
    });
    let api = BearerLayer::new(process.source.clone(), ["gmail.googleapis.com"]).layer(never);
    for uri in [
        "https://evil.example/",
        "http://gmail.googleapis.com/",
        "https://gmail.googleapis.com:444/",
        "https://gmail.googleapis.com@evil.example/",
        "https://gmail.googleapis.com.evil.example/",
        "/gmail/v1",
    ] {
        let request = http::Request::get(uri).body(http_body_util::Empty::new()).unwrap();
        let error = api.clone().oneshot(request).await.unwrap_err();
        assert!(matches!(error, BearerError::Elsewhere), "{uri}: {error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_dies_in_the_middle_of_a_refresh_holds_the_others_up_for_two_minutes_at_most() {
    let world = World::new(Config::default());
    let first = refreshing(&world, Answer::Mute).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(first.source.status().state, GrantState::Refreshing);
    first.keeper.abort();
    let second = world.process();
    let began = tokio::time::Instant::now();
    let token = second.source.token().await.unwrap();
    second.source.rejected(&token).await.unwrap();
    let token = second.source.token().await.unwrap();
    assert!(world.is_good(token.secret()).await);
    assert!(began.elapsed() < 2 * MINUTE, "{:?}", began.elapsed());
    assert!(matches!(first.source.token().await, Ok(_) | Err(TokenError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_nobody_uses_any_more_ends_after_it_has_saved_everything() {
    let world = World::new(Config::default());
    let process = refreshing(&world, Answer::Slow(5 * SECOND)).await;
    tokio::time::sleep(SECOND).await;
    world.store.set_fails(true);
    drop(process.source);
    tokio::time::sleep(MINUTE).await;
    assert!(!process.keeper.is_finished(), "it has a token that nobody else has");
    world.store.set_fails(false);
    process.keeper.await.unwrap();
    assert_eq!(world.process().source.token().await.unwrap().serial(), 2);
}

#[tokio::test(start_paused = true)]
async fn more_callers_than_may_wait_are_told_so() {
    let world = World::new(Config::default());
    let process = refreshing(&world, Answer::Slow(5 * SECOND)).await;
    let answers = futures_util::future::join_all((0..1_100).map(|_| process.source.token())).await;
    let busy = answers.iter().filter(|answer| matches!(answer, Err(TokenError::Busy))).count();
    assert_eq!((busy, answers.len() - busy), (76, 1_024));
}

#[tokio::test(start_paused = true)]
async fn a_person_who_can_not_be_reached_is_told_later() {
    let world = World::new(Config::default());
    let process = world.process();
    world.connect(&process).await;
    world.unreachable.store(true, Ordering::SeqCst);
    world.twin.end_grants(None, Death::Expired);
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(world.alerts(), []);
    world.unreachable.store(false, Ordering::SeqCst);
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.alerts().len(), 1);
}
