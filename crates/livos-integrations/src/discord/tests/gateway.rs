//! The listener at the gateway: nothing lost, nothing twice, whatever breaks.

use std::sync::atomic::Ordering;

use livos_twins::{Fault, Target, When};
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::discord::gateway::{Fatal, Presence};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_people_write_becomes_a_job_and_what_bots_write_does_not() {
    let house = House::new();
    let running = house.started().await;
    house.anna("hello");
    house.twin.say(twin::CHANNEL, twin::BEN, "among us");
    house.twin.say(twin::CHANNEL, twin::BEN, &format!("<@{}> and you?", twin::BOT));
    house.twin.write(twin::CHANNEL, twin::ANNA, &format!("<@{}>", twin::BOT), json!({ "webhook_id": "7" }));
    house.twin.say(twin::CHANNEL, twin::BOT, &format!("<@{}> I talk to myself", twin::BOT));
    house.until_texts(&["hello", "and you?"]).await;
    running.stop().await.unwrap();
    assert_eq!(house.twin.stats().close_codes, [4000], "which keeps the session");
}

#[tokio::test(start_paused = true)]
async fn a_stopped_process_resumes_and_hears_what_it_missed() {
    let house = House::new();
    house.started().await.stop().await.unwrap();
    house.anna("while you were away");
    let running = house.started().await;
    house.anna("and now");
    house.until_texts(&["while you were away", "and now"]).await;
    running.kill().await;
    house.anna("after a kill");
    house.started().await;
    house.until_texts(&["while you were away", "and now", "after a kill"]).await;
    let stats = house.twin.stats();
    assert_eq!((stats.identifies, stats.resumes), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_in_any_way_is_resumed() {
    let faults = [
        Fault::Drop(When::Now),
        Fault::Stall(When::Now),
        Fault::HalfMessage(When::Now),
        Fault::Garbage(When::Now),
        Fault::GarbageMessage(When::Now),
        Fault::Close { when: When::Now, code: 4000, reason: String::new() },
        Fault::Close { when: When::Now, code: 1001, reason: String::new() },
    ];
    for fault in faults {
        let house = House::new();
        let running = house.started().await;
        house.twin.inject(fault.clone());
        house.anna("one");
        sleep(SECOND / 10).await;
        house.anna("two");
        house.until_texts(&["one", "two"]).await;
        let stats = house.twin.stats();
        assert_eq!((stats.identifies, stats.resumes), (1, 1), "{fault:?}");
        running.stop().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_zombie_is_left_within_two_heartbeats_and_with_a_code_that_keeps_the_session() {
    let house = House::new();
    let _running = house.started().await;
    sleep(60 * SECOND).await;
    house.twin.trick(twin::Trick::NoAcks);
    let begun = Instant::now();
    house.until("a resume", || house.twin.stats().resumes == 1).await;
    assert!(begun.elapsed() < 2 * Duration::from_millis(41_250) + SECOND, "{:?}", begun.elapsed());
    assert_eq!(house.twin.stats().close_codes, [4000]);
    assert_eq!(house.twin.stats().identifies, 1);
}

#[tokio::test(start_paused = true)]
async fn a_quiet_day_costs_one_session_and_regular_heartbeats() {
    let house = House::new();
    let _running = house.started().await;
    sleep(24 * 3600 * SECOND).await;
    let stats = house.twin.stats();
    assert_eq!((stats.identifies, stats.resumes, stats.close_codes.len()), (1, 0, 0));
    assert!((2_090..2_100).contains(&stats.heartbeats), "{}", stats.heartbeats);
}

#[tokio::test(start_paused = true)]
async fn the_provider_s_own_reconnects_are_obeyed() {
    let house = House::new();
    let running = house.started().await;
    house.twin.trick(twin::Trick::HeartbeatRequest);
    house.twin.trick(twin::Trick::Reconnect);
    house.anna("one");
    house.until("a resume", || house.twin.stats().resumes == 1).await;
    house.twin.trick(twin::Trick::InvalidSession { resumable: true });
    house.anna("two");
    house.until("a resume", || house.twin.stats().resumes == 2).await;
    house.until_texts(&["one", "two"]).await;
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn messages_between_two_sessions_are_fetched() {
    let house = House::new();
    let running = house.started().await;
    house.anna("before");
    house.twin.say(twin::CHANNEL, twin::BEN, &format!("<@{}> before", twin::BOT));
    house.until_texts(&["before", "before"]).await;
    running.kill().await;
    house.twin.forget_sessions();
    for n in 0..250 {
        house.anna(&n.to_string());
    }
    house.twin.say(twin::CHANNEL, twin::BEN, "among us");
    house.twin.say(twin::CHANNEL, twin::BEN, &format!("<@{}> meanwhile", twin::BOT));
    let running = house.started().await;
    house.anna("after");
    house.until("what was missed", || house.texts().len() == 2 + 250 + 2).await;
    settle().await;
    let texts = house.texts();
    let numbers: Vec<&String> = texts.iter().filter(|text| text.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers, (0..250).map(|n| n.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    assert!(texts.contains(&"meanwhile".into()) && texts.contains(&"after".into()));
    running.stop().await.unwrap();
    assert_eq!(house.twin.stats().identifies, 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_a_day_is_not_fetched() {
    let house = House::new();
    let running = house.started().await;
    house.anna("before");
    house.until_texts(&["before"]).await;
    running.kill().await;
    house.anna("too old");
    sleep(25 * 3600 * SECOND).await;
    house.anna("recent");
    let _running = house.started().await;
    house.until_texts(&["before", "recent"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_while_fetching_fetches_the_rest() {
    let house = House::new();
    let running = house.started().await;
    house.anna("before");
    house.until_texts(&["before"]).await;
    running.kill().await;
    house.twin.forget_sessions();
    // More pages than Discord gives in a second.
    (0..1950).for_each(|n| {
        house.anna(&n.to_string());
    });
    let running = house.start();
    house.until("some", || house.texts().len() > 100).await;
    running.kill().await;
    assert!(house.texts().len() < 1951, "the kill came in the middle");
    let _running = house.started().await;
    house.until("all", || house.texts().len() == 1951).await;
}

#[tokio::test(start_paused = true)]
async fn many_small_gaps_leave_the_pages_of_a_large_one() {
    let house = House::new();
    let _running = house.started().await;
    house.anna("before");
    house.until("the first", || house.texts().len() == 1).await;
    for gap in 1..=30 {
        house.twin.forget_sessions();
        house.twin.kill_connections();
        let missed = if gap == 30 { 250 } else { 1 };
        let before = house.texts().len();
        (0..missed).for_each(|n| {
            house.anna(&n.to_string());
        });
        house.until("what was missed", || house.texts().len() == before + missed).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_the_gateway_back_and_loses_nothing() {
    let mut house = House::new();
    house.config.backlog = 10;
    let running = house.started().await;
    house.queue.full.store(true, Ordering::Relaxed);
    for n in 0..100 {
        house.anna(&n.to_string());
        sleep(SECOND / 2).await;
    }
    assert_eq!(house.texts(), Vec::<String>::new());
    house.queue.full.store(false, Ordering::Relaxed);
    let all: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    house.until_texts(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(house.twin.stats().identifies, 1);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_told_once_and_not_tried_again() {
    let house = House::with(twin::Config { token: "another".into(), ..twin::Config::default() });
    let error = house.start().task.await.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::Refused(Fatal::AuthenticationFailed)), "{error:?}");
    let stats = house.twin.stats();
    assert_eq!(
        (stats.total_connections, stats.identifies),
        (1, 0),
        "the token is refused before a session is counted"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_intents_are_told_and_not_tried_again() {
    let mut house = House::new();
    house.config.intents |= 1 << 15;
    let error = house.start().task.await.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::Refused(Fatal::DisallowedIntents)), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_ordered_reconnects_is_no_storm() {
    let house = House::new();
    let _running = house.started().await;
    for _ in 0..3600 {
        house.twin.trick(twin::Trick::Reconnect);
        sleep(SECOND).await;
    }
    let stats = house.twin.stats();
    assert!(stats.resumes < 300, "{} resumes in an hour", stats.resumes);
    assert_eq!(stats.identifies, 1);
    house.anna("still here");
    house.until_texts(&["still here"]).await;
}

#[tokio::test(start_paused = true)]
async fn two_days_of_dying_sessions_never_reset_the_token() {
    let mut house = House::new();
    // Restarted by an impatient supervisor all the time, which makes every wait of a single process
    // worthless.
    for hour in 0..48 {
        house.config.holder = format!("process {hour}");
        let running = house.start();
        for _ in 0..360 {
            house.twin.trick(twin::Trick::InvalidSession { resumable: false });
            sleep(10 * SECOND).await;
        }
        running.kill().await;
    }
    let stats = house.twin.stats();
    assert_eq!(stats.token_resets, 0);
    assert!((1000..=1801).contains(&stats.identifies), "{} in two days", stats.identifies);
}

#[tokio::test(start_paused = true)]
async fn one_process_listens_and_another_takes_over_when_it_ends() {
    let mut house = House::new();
    let first = house.started().await;
    house.config.holder = "another".into();
    let second = house.start();
    sleep(600 * SECOND).await;
    assert_eq!(house.twin.stats().identifies, 1);
    assert_eq!(house.twin.stats().resumes, 0);
    first.stop().await.unwrap();
    let stopped = Instant::now();
    house.until("a resume", || house.twin.stats().resumes == 1).await;
    assert!(stopped.elapsed() <= 6 * SECOND, "a process that ends in order makes nobody wait");
    house.config.holder = "third".into();
    second.kill().await;
    let killed = Instant::now();
    let _third = house.start();
    house.until("a resume", || house.twin.stats().resumes == 2).await;
    assert!(killed.elapsed() <= 36 * SECOND, "after a kill the guard runs out");
}

#[tokio::test(start_paused = true)]
async fn the_same_process_started_again_takes_over_at_once_and_the_old_one_stops() {
    let house = House::new();
    let first = house.started().await;
    let _second = house.start();
    house.until("a resume", || house.twin.stats().resumes == 1).await;
    house.anna("hello");
    let error = first.task.await.unwrap().unwrap_err();
    assert!(matches!(error, ListenError::TakenOver), "{error:?}");
    house.until_texts(&["hello"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_presence_is_shown_when_a_session_begins() {
    let mut house = House::new();
    house.config.presence = Some(Presence { idle: false, text: "listening".into() });
    let _running = house.started().await;
    house.until("a presence", || house.twin.stats().presences == 1).await;
}

#[tokio::test(start_paused = true)]
async fn events_that_are_no_jobs_cost_few_writes() {
    let house = House::new();
    let _running = house.started().await;
    let before = house.queue.calls.load(Ordering::Relaxed);
    for _ in 0..1000 {
        house.twin.say(twin::CHANNEL, twin::BEN, "among us");
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(house.queue.calls.load(Ordering::Relaxed) - before, 10);
}

#[tokio::test(start_paused = true)]
async fn random_faults_for_an_hour_lose_nothing_and_repeat_nothing() {
    for seed in 1..=3 {
        let house = House::with(twin::Config { seed, ..twin::Config::default() });
        let short = |seconds: u64| When::Between(Duration::ZERO, Duration::from_secs(seconds));
        for fault in [Fault::Drop(short(200)), Fault::Stall(short(300)), Fault::HalfMessage(short(250))] {
            house.twin.inject_into(Target::Each, fault);
        }
        let _running = house.start();
        house.until("a session", || house.twin.connected_sessions() == 1).await;
        house.anna("first");
        house.until("the first", || !house.texts().is_empty()).await;
        for n in 0..720 {
            house.anna(&n.to_string());
            sleep(5 * SECOND).await;
        }
        house.twin.host().clear_faults();
        house.until("all", || house.texts().len() == 721).await;
        let mut texts = house.texts();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), 721);
    }
}
