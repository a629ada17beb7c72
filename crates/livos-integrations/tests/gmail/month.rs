//! Thirty days of Gmail in virtual time, with everything that goes wrong going wrong at random.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use livos_core::time::Clock;
use livos_integrations::gmail::{Notification, Told, WatchAlert, WatchConfig};
use livos_twins::gmail::Config;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::Value;
use tokio::{sync::mpsc::UnboundedReceiver, time::sleep};

use crate::support::{DAY, Disk, Heard, Process, TOPIC, Virtual, assert_once, client, provider, work};

/// No gap in the mail, no job twice, and one word for each thing that is wrong.
async fn month(seed: u64, renew_after: Duration) {
    let mut random = SmallRng::seed_from_u64(seed);
    let provider = provider(Config {
        seed,
        push_loss: 0.3,
        push_repeats: 0.2,
        push_delay: Duration::from_secs(400),
        ..Config::default()
    });
    provider.flaky("watch", 0.7);
    provider.flaky("history.list", 0.2);
    provider.flaky("messages.list", 0.2);
    provider.flaky("profile", 0.2);
    let (disk, clock, heard) = (Disk::new(), Virtual::new(), Heard::default());
    let mut config = WatchConfig::push(TOPIC);
    config.renew_after = renew_after;
    let start = || Process::start(client(&provider), &disk, &clock, &heard, config.clone());
    let (mut pushes, mut process) = (provider.pushes(), Some(start()));
    // The first look tells where the mailbox begins.
    sleep(Duration::from_secs(600)).await;
    let (mut done, mut delivered, mut down_until) = (BTreeMap::new(), Vec::new(), None);
    let end = clock.now().plus(30 * DAY);
    while clock.now() < end {
        sleep(Duration::from_secs(random.random_range(1..4000))).await;
        for n in 0..random.random_range(0..4) {
            delivered.push(provider.deliver_text("bob@example.org", &n.to_string(), "x"));
        }
        hand_over(&mut pushes, process.as_ref());
        match random.random_range(0..1000) {
            0..10 if process.is_some() => {
                process.take().unwrap().kill().await;
                // A moment, or days: beyond a week the history is gone.
                let hours = if random.random_bool(0.2) { 24 * random.random_range(1..10) } else { 0 };
                down_until = Some(clock.now().plus(Duration::from_secs(3600 * hours)));
            }
            10..13 => provider.forget_history(),
            13..16 => provider.lose_watch(),
            16..18 => provider.revoke(),
            18..40 => {
                provider.grant("token");
                process.iter().for_each(|process| process.handle.consented());
            }
            _ => {}
        }
        if process.is_none() && down_until.is_none_or(|until| until <= clock.now()) {
            process = Some(start());
        }
        work(&disk, &clock, &mut done).await;
    }
    provider.grant("token");
    let process = process.unwrap_or_else(start);
    process.handle.consented();
    for route in ["watch", "history.list", "messages.list", "profile"] {
        provider.flaky(route, 0.0);
    }
    // That pushes come again is heard from a push, and now and then three of them are lost in a
    // row.
    for hour in 0..200 {
        if hour >= 48 && unrecovered(&heard.lock().unwrap()).is_empty() {
            break;
        }
        delivered.push(provider.deliver_text("bob@example.org", "all is well", "x"));
        sleep(Duration::from_secs(3600)).await;
        hand_over(&mut pushes, Some(&process));
    }
    work(&disk, &clock, &mut done).await;
    assert_once(&done, &delivered);
    assert!(delivered.len() > 500, "{} mails", delivered.len());
    let expires = provider.watch_expires_ms().expect("a watch");
    let planned = clock.now().plus(7 * DAY - renew_after).unix_ms();
    assert!(expires >= planned - 3_600_000, "the watch was not renewed when it should have been");
    assert_told_once(&heard.lock().unwrap());
    process.end().await;
}

/// What was pushed since the last time comes to the process that is up; what is pushed to none is
/// lost.
fn hand_over(pushes: &mut UnboundedReceiver<Value>, process: Option<&Process>) {
    while let Ok(body) = pushes.try_recv() {
        let notification = Notification::from_pubsub(body.to_string().as_bytes()).unwrap();
        if let Some(process) = process {
            process.handle.notify(&notification);
        }
    }
}

/// What was told to be wrong and not to be over.
fn unrecovered(heard: &[Told]) -> BTreeSet<WatchAlert> {
    let mut raised = BTreeSet::new();
    for told in heard {
        match told {
            Told::Alert(WatchAlert::MailSkipped) => {}
            Told::Alert(alert) => drop(raised.insert(*alert)),
            Told::Recovered(alert) => drop(raised.remove(alert)),
            _ => {}
        }
    }
    raised
}

/// Nothing is told again before it was over. A process that is killed while it tells may tell once
/// more.
fn assert_told_once(heard: &[Told]) {
    let again = (0..heard.len())
        .filter(|at| matches!(heard[*at], Told::Alert(alert) if unrecovered(&heard[..*at]).contains(&alert)))
        .count();
    let raised = unrecovered(heard);
    assert!(raised.is_empty(), "{raised:?} did not recover");
    assert!(again <= 1, "{again} alerts again: {heard:?}");
    assert!(heard.contains(&Told::Alert(WatchAlert::RenewalFailing)), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn thirty_days_of_failing_renewals_leave_no_gap_and_make_no_job_twice() {
    month(1, WatchConfig::DAILY).await;
}

#[tokio::test(start_paused = true)]
async fn thirty_days_renewed_on_day_six_do_not_either() {
    month(2, WatchConfig::DAY_SIX).await;
}
