//! The poller: nothing lost, nothing twice, one at a time.

use std::time::Duration;

use livos_core::{queue::QueueConfig, time::Clock};
use livos_integrations::telegram::{ErrorKind, OnWebhook, PollStatus};
use livos_twins::{
    Twin as _,
    fault::{Fault, Refusal, Target, When},
    telegram::{Config, Courier},
};
use serde_json::json;

use crate::rig::{Rig, until};

fn texts(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_said_becomes_a_job_and_is_confirmed() {
    let rig = Rig::new();
    let poller = rig.poll(|_| {});
    rig.twin.say(7, "one");
    rig.twin.say(8, "two");
    assert_eq!(rig.jobs(2).await, ["one", "two"]);
    let mut edited = rig.twin.message(7, "one, I mean");
    edited["edit_date"] = edited["date"].clone();
    rig.twin.push(json!({ "edited_message": edited }));
    assert_eq!(rig.jobs(1).await, ["one, I mean"]);
    assert_eq!(poller.poller.status(), PollStatus::Polling);
    poller.stop().await.unwrap();
    assert_eq!(rig.twin.pending(), 0, "the last poll confirmed what was durable");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_confirmed_before_it_is_durable() {
    let rig = Rig::narrow(3);
    let poller = rig.poll(|_| {});
    for n in 0..5 {
        rig.twin.say(7, &n.to_string());
    }
    until("the queue is full", || poller.poller.status() == PollStatus::Full).await;
    poller.kill().await;
    assert!(rig.twin.pending() >= 2, "what found no room is still at the provider");
    let _poller = rig.poll(|_| {});
    assert_eq!(rig.jobs(5).await, texts(0..5), "in order, and none twice");
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_dies_again_and_again_loses_nothing_and_doubles_nothing() {
    let rig = Rig::new();
    let mut said = 0;
    let mut found = Vec::new();
    for round in 0..40u64 {
        let poller = rig.poll(|_| {});
        for _ in 0..3 {
            rig.twin.say(7, &said.to_string());
            said += 1;
        }
        tokio::time::sleep(Duration::from_millis(round % 5)).await;
        std::thread::sleep(Duration::from_micros(round * 37 % 400));
        poller.kill().await;
        found.extend(rig.take().await);
    }
    let _poller = rig.poll(|_| {});
    found.extend(rig.jobs(said as usize - found.len()).await);
    assert_eq!(found, texts(0..said));
    assert_eq!(rig.take().await, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn ids_that_begin_anew_after_a_silent_week_are_followed() {
    for seed in 0..4 {
        let rig = Rig::with(Config { seed, ..Config::default() }, QueueConfig::default());
        let poller = rig.poll(|_| {});
        let before = rig.twin.say(7, "before");
        assert_eq!(rig.jobs(1).await, ["before"]);
        poller.stop().await.unwrap();
        tokio::time::sleep(Duration::from_secs(8 * 86_400)).await;
        let after = rig.twin.say(7, "after");
        assert_ne!(before + 1, after, "ids started over");
        let _poller = rig.poll(|_| {});
        assert_eq!(rig.jobs(1).await, ["after"]);
        rig.twin.say(7, "and on");
        assert_eq!(rig.jobs(1).await, ["and on"]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_yet_does_not_hold_up_the_rest() {
    let rig = Rig::new();
    let _poller = rig.poll(|config| config.allowed_updates.push("kind_of_tomorrow".into()));
    until("it polls", || rig.twin.calls("getupdates") > 0).await;
    rig.twin.push(json!({ "kind_of_tomorrow": { "x": [1, { "y": null }] } }));
    rig.twin.push(json!({ "message": { "of": "a shape that nobody knows" } }));
    rig.twin.say(7, "hello");
    let mut read = 0;
    loop {
        let Some(lease) = rig.lease().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let payload = lease.payload.clone();
        rig.queue.ack(rig.clock.now(), lease).await.unwrap();
        match livos_integrations::telegram::update(&payload) {
            Ok(update)
                if update
                    .message
                    .as_ref()
                    .is_some_and(|message| message.text.as_deref() == Some("hello")) =>
            {
                break;
            }
            Ok(update) => assert!(update.message.is_none()),
            Err(error) => assert!(error.to_string().contains("can't be read")),
        }
        read += 1;
    }
    assert_eq!(read, 2);
}

#[tokio::test(start_paused = true)]
async fn a_second_poller_waits_says_so_and_takes_over() {
    let rig = Rig::new();
    let first = rig.poll(|config| config.holder = "first".into());
    rig.twin.say(7, "one");
    assert_eq!(rig.jobs(1).await, ["one"]);
    let second = rig.poll(|config| config.holder = "second".into());
    until(
        "it waits",
        || matches!(second.poller.status(), PollStatus::Waiting { holder, .. } if holder == "first"),
    )
    .await;
    rig.twin.say(7, "two");
    assert_eq!(rig.jobs(1).await, ["two"]);
    assert_eq!(first.poller.status(), PollStatus::Polling, "nobody was thrown out");
    first.stop().await.unwrap();
    rig.twin.say(7, "three");
    assert_eq!(rig.jobs(1).await, ["three"]);
    assert_eq!(second.poller.status(), PollStatus::Polling);
    // Killed, it gives nothing up: the next one waits until its time is over.
    second.kill().await;
    let _third = rig.poll(|config| config.holder = "third".into());
    rig.twin.say(7, "four");
    assert_eq!(rig.jobs(1).await, ["four"]);
}

#[tokio::test(start_paused = true)]
async fn a_poller_that_was_taken_over_from_can_not_write_any_more() {
    let rig = Rig::new();
    let old = rig.poll(|config| config.guard = Duration::from_secs(100_000));
    until("it polls", || old.poller.status() == PollStatus::Polling || rig.twin.calls("getupdates") > 0)
        .await;
    // Started again under the same name, while the old one hangs in its poll.
    let new = rig.poll(|config| config.guard = Duration::from_secs(100_000));
    rig.twin.say(7, "one");
    rig.twin.say(7, "two");
    assert_eq!(rig.jobs(2).await, ["one", "two"]);
    rig.twin.say(7, "three");
    assert_eq!(rig.jobs(1).await, ["three"], "two that fight lose nothing");
    old.kill().await;
    new.kill().await;
}

#[tokio::test(start_paused = true)]
async fn a_stranger_with_the_same_token_is_a_conflict_that_is_waited_out() {
    let rig = Rig::new();
    let poller = rig.poll(|_| {});
    until("it polls", || rig.twin.calls("getupdates") > 0).await;
    let stranger = crate::rig::bot(&rig.twin);
    let theirs = tokio::spawn(async move { stranger.updates(0, 100, Duration::from_secs(20), &[]).await });
    until("it is thrown out", || poller.poller.status() == PollStatus::Conflict).await;
    assert!(theirs.await.unwrap().unwrap().is_empty());
    rig.twin.say(7, "hello");
    assert_eq!(rig.jobs(1).await, ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_never_deleted_unless_that_was_asked_for() {
    let rig = Rig::new();
    rig.twin.deliver_by(Courier::new(|_| Box::pin(async { Err("nobody is there".into()) })));
    let config = livos_integrations::telegram::WebhookConfig::new(
        "https://elsewhere.example/secret-path".parse().unwrap(),
        livos_core::secret::Secret::new("a-secret-token"),
    );
    rig.bot.enable_webhook(&config).await.unwrap();
    rig.twin.say(7, "hello");
    let waiting = rig.poll(|_| {});
    until("it says so", || waiting.poller.status() == PollStatus::Webhook).await;
    assert_eq!(rig.twin.calls("deletewebhook"), 0);
    waiting.stop().await.unwrap();
    let deleting = rig.poll(|config| config.on_webhook = OnWebhook::Delete);
    assert_eq!(rig.jobs(1).await, ["hello"], "what waited there is not lost");
    assert_eq!(rig.twin.calls("deletewebhook"), 1);
    deleting.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_bad_network_and_a_busy_server_are_waited_for() {
    let rig = Rig::new();
    rig.twin.refuse(3, Refusal::status(502));
    rig.twin.refuse(1, Refusal::status(429).header("retry-after", "5"));
    rig.twin.inject_into(
        Target::Each,
        Fault::Drop(When::Between(Duration::from_millis(1), Duration::from_secs(40))),
    );
    let poller = rig.poll(|_| {});
    let mut found = Vec::new();
    for n in 0..20 {
        rig.twin.say(7, &n.to_string());
        found.extend(rig.jobs(1).await);
    }
    assert_eq!(found, texts(0..20));
    poller.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_ends_it() {
    let mut rig = Rig::with(
        Config { token: Some("1:some-other-token-of-this-length".into()), ..Config::default() },
        QueueConfig::default(),
    );
    let ended = rig.poll(|_| {}).task.await.unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Unauthorized);
    // And the next one need not wait for it.
    rig.bot = crate::rig::bot_with(&rig.twin, "1:some-other-token-of-this-length");
    let _poller = rig.poll(|config| config.holder = "another".into());
    rig.twin.say(7, "hello");
    assert_eq!(rig.jobs(1).await, ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_updates_are_one_write_and_one_poll() {
    let rig = Rig::new();
    for n in 0..250 {
        rig.twin.say(7, &n.to_string());
    }
    let poller = rig.poll(|_| {});
    assert_eq!(rig.jobs(250).await, texts(0..250));
    assert!(rig.twin.calls("getupdates") <= 5, "{}", rig.twin.calls("getupdates"));
    poller.stop().await.unwrap();
}
