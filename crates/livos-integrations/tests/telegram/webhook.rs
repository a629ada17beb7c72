//! The webhook: the same jobs under the same keys, proved by the secret, and switched without a
//! loss.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use livos_core::secret::Secret;
use livos_integrations::{
    telegram::{NotEnabled, WebhookConfig, updates},
    webhook::{Body, Intake},
};
use livos_twins::telegram::Courier;
use tower::ServiceExt;

use crate::rig::{Rig, Virtual, until};

const SECRET: &str = "a-secret-token_1";

fn config(url: &str) -> WebhookConfig {
    WebhookConfig::new(url.parse().unwrap(), Secret::new(SECRET))
}

fn endpoint(rig: &Rig) -> Intake<Virtual> {
    updates(&rig.bot, [Secret::new(SECRET)], rig.queue(), rig.clock.clone()).unwrap()
}

/// Lets the twin deliver to the endpoint. The answers to the first `lost` deliveries do not arrive.
fn connect(rig: &Rig, lost: u32) {
    let (endpoint, lost) = (endpoint(rig), Arc::new(AtomicU32::new(lost)));
    rig.twin.deliver_by(Courier::new(move |request| {
        let (endpoint, lost) = (endpoint.clone(), Arc::clone(&lost));
        Box::pin(async move {
            let response = endpoint.oneshot(request).await.unwrap().map(Body::into_bytes);
            match lost.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Err("the answer was lost".to_owned()),
                Err(_) => Ok(response),
            }
        })
    }));
}

#[tokio::test(start_paused = true)]
async fn deliveries_become_jobs_and_repeats_are_duplicates() {
    let rig = Rig::new();
    connect(&rig, 3);
    rig.bot.enable_webhook(&config("https://here.example/hook")).await.unwrap();
    for n in 0..5 {
        rig.twin.say(n, &n.to_string());
    }
    until("all are delivered", || rig.twin.pending() == 0).await;
    let mut found = rig.take().await;
    found.sort();
    assert_eq!(found, ["0", "1", "2", "3", "4"], "three were delivered twice and are jobs once");
    let info = rig.bot.webhook_info().await.unwrap();
    assert_eq!((info.url.as_str(), info.pending_update_count), ("https://here.example/hook", 0));
    assert_eq!(info.last_error_message.as_deref(), Some("the answer was lost"));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_asks_for_time_and_gets_all_of_it_later() {
    let rig = Rig::narrow(2);
    connect(&rig, 0);
    rig.bot.enable_webhook(&config("https://here.example/hook")).await.unwrap();
    for n in 0..5 {
        rig.twin.say(7, &n.to_string());
    }
    assert_eq!(rig.jobs(5).await, ["0", "1", "2", "3", "4"], "in the order of the chat");
}

#[tokio::test(start_paused = true)]
async fn a_bot_is_switched_both_ways_without_losing_or_doubling_anything() {
    let rig = Rig::new();
    connect(&rig, 1);
    let poller = rig.poll(|_| {});
    let (mut said, mut found) = (0, Vec::new());
    let mut say = |rig: &Rig| {
        rig.twin.say(7, &said.to_string());
        said += 1;
    };
    say(&rig);
    found.extend(rig.jobs(1).await);
    say(&rig);
    rig.bot.enable_webhook(&config("https://here.example/hook")).await.unwrap();
    say(&rig);
    poller.stop().await.unwrap();
    found.extend(rig.jobs(2).await);
    say(&rig);
    rig.bot.delete_webhook().await.unwrap();
    say(&rig);
    let poller = rig.poll(|_| {});
    found.extend(rig.jobs(2).await);
    poller.stop().await.unwrap();
    found.sort();
    assert_eq!((found, rig.take().await.len()), (["0", "1", "2", "3", "4"].map(str::to_owned).to_vec(), 0));
}

#[tokio::test(start_paused = true)]
async fn only_who_knows_the_secret_delivers() {
    let rig = Rig::new();
    let endpoint = endpoint(&rig);
    let body = Bytes::from_static(br#"{"update_id": 1}"#);
    let send = async |tokens: &[&str], body: &Bytes| {
        let mut request = Request::post("/");
        for token in tokens {
            request = request.header("x-telegram-bot-api-secret-token", *token);
        }
        endpoint.clone().oneshot(request.body(Full::new(body.clone())).unwrap()).await.unwrap().status()
    };
    for tokens in [&[""], &["wrong"], &["a-secret-token_"]] {
        assert_eq!(send(tokens, &body).await, StatusCode::UNAUTHORIZED, "{tokens:?}");
    }
    for tokens in [&[] as &[&str], &[SECRET, SECRET], &[SECRET, "x"]] {
        assert_eq!(send(tokens, &body).await, StatusCode::BAD_REQUEST, "{tokens:?}");
    }
    assert_eq!(rig.take().await.len(), 0);
    assert_eq!(send(&[SECRET], &body).await, StatusCode::OK);
    assert_eq!(send(&[SECRET], &body).await, StatusCode::OK);
    assert_eq!(rig.take().await.len(), 1);
    for secret in ["", " ", "with space", "ünï", &"x".repeat(257)] {
        let made = updates(&rig.bot, [Secret::new(secret)], rig.queue(), rig.clock.clone());
        assert!(made.is_err(), "{secret:?}");
        let mut config = config("https://here.example");
        config.secret = Secret::new(secret);
        assert_eq!(rig.bot.enable_webhook(&config).await, Err(NotEnabled::Secret));
    }
    assert_eq!(rig.twin.calls("setwebhook"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_webhook_of_another_server_is_not_taken_over_silently() {
    let rig = Rig::new();
    rig.twin.deliver_by(Courier::new(|_| Box::pin(async { Ok(Response::new(Bytes::new())) })));
    rig.bot.enable_webhook(&config("https://there.example/secret-path")).await.unwrap();
    let refused = rig.bot.enable_webhook(&config("https://here.example/hook")).await.unwrap_err();
    assert_eq!(refused, NotEnabled::Taken { host: "there.example".into() });
    assert!(!refused.to_string().contains("secret-path"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut replacing = config("https://here.example/hook");
    replacing.replace = true;
    rig.bot.enable_webhook(&replacing).await.unwrap();
    assert_eq!(rig.bot.webhook_info().await.unwrap().url, "https://here.example/hook");
}
