//! The watch, one event at a time.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use livos_core::{
    drain::Drain,
    queue::{Job, JobKind, NewJob, Outcome, Worker, WorkerConfig},
    time::Clock,
};
use livos_integrations::gmail::{HistoryId, MailJob, Notification, Told, WatchAlert, WatchConfig};
use livos_twins::gmail::{self as twin, Config, Trouble};
use tokio::time::sleep;
use tower::service_fn;

use crate::support::{
    ADDRESS, DAY, Disk, Heard, Process, TOPIC, Virtual, assert_once, client, provider, work,
};

/// A mailbox that is watched.
struct Scene {
    provider: twin::Gmail,
    disk: Disk,
    clock: Virtual,
    heard: Heard,
    done: BTreeMap<String, u32>,
    delivered: Vec<String>,
    config: WatchConfig,
}

const SOON: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_secs(301);

impl Scene {
    fn new(config: Config) -> Self {
        Self {
            provider: provider(config),
            disk: Disk::new(),
            clock: Virtual::new(),
            heard: Heard::default(),
            done: BTreeMap::new(),
            delivered: Vec::new(),
            config: WatchConfig::push(TOPIC),
        }
    }

    async fn start(&self) -> Process {
        let process =
            Process::start(client(&self.provider), &self.disk, &self.clock, &self.heard, self.config.clone());
        sleep(SOON).await;
        process
    }

    /// The endpoint of the push.
    fn connect(&self, process: &Process) {
        let (mut pushes, handle) = (self.provider.pushes(), process.handle.clone());
        tokio::spawn(async move {
            while let Some(body) = pushes.recv().await {
                let notification = Notification::from_pubsub(body.to_string().as_bytes()).unwrap();
                assert!(handle.notify(&notification));
            }
        });
    }

    fn deliver(&mut self, subject: &str) {
        self.delivered.push(self.provider.deliver_text("bob@example.org", subject, "x"));
    }

    /// Waits, and works on what there is.
    async fn after(&mut self, time: Duration) -> usize {
        sleep(time).await;
        let before = self.done.len();
        work(&self.disk, &self.clock, &mut self.done).await;
        self.done.len() - before
    }

    fn heard(&self) -> Vec<Told> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn calls(&self, route: &str) -> u64 {
        self.provider.stats().calls.get(route).copied().unwrap_or_default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_push_brings_mail_at_once_and_the_poll_what_pushes_miss() {
    let mut scene = Scene::new(Config::default());
    scene.provider.deliver_text("bob@example.org", "from before", "nobody's job");
    let process = scene.start().await;
    scene.connect(&process);
    scene.deliver("pushed");
    assert_eq!(scene.after(SOON).await, 1);
    process.kill().await;
    let deaf = scene.start().await;
    scene.deliver("not pushed");
    assert_eq!(scene.after(SOON).await, 0);
    assert_eq!(scene.after(POLL).await, 1);
    assert_once(&scene.done, &scene.delivered);
    deaf.end().await;
    assert_eq!((scene.calls("watch"), scene.heard()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn mail_that_is_moved_into_the_inbox_later_is_one_job() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    scene.connect(&process);
    let spam = scene.provider.deliver_as("Subject: not spam at all\r\n\r\nx", &["SPAM", "UNREAD"]);
    let put_away = scene.provider.deliver_as("Subject: snoozed\r\n\r\nx", &["UNREAD"]);
    assert_eq!(scene.after(POLL).await, 0);
    scene.provider.relabel(&spam, &["INBOX"], &["SPAM"]);
    scene.provider.relabel(&put_away, &["STARRED"], &[]);
    assert_eq!(scene.after(POLL).await, 1);
    scene.provider.relabel(&put_away, &["INBOX"], &[]);
    assert_eq!(scene.after(POLL).await, 1);
    // Other labels, and a second move, are no news.
    for id in [&spam, &put_away] {
        scene.provider.relabel(id, &["IMPORTANT"], &["INBOX"]);
        scene.provider.relabel(id, &["INBOX"], &[]);
    }
    assert_eq!(scene.after(POLL).await, 0);
    assert_once(&scene.done, &[spam, put_away]);
    assert!(scene.heard().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pushes_that_are_old_repeated_or_of_others_are_harmless() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    scene.deliver("one");
    let push = |address: &str, id| Notification {
        address: address.into(),
        history_id: HistoryId(id),
        push_id: None,
        subscription: None,
    };
    assert!(!process.handle.notify(&push("eve@example.org", u64::MAX)));
    assert!(process.handle.notify(&push("ANNA@example.org", u64::MAX)));
    assert_eq!(scene.after(SOON).await, 1);
    let before = scene.calls("history.list");
    for id in [0, 5, 1000, 5] {
        process.handle.notify(&push(ADDRESS, id));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(scene.calls("history.list"), before);
    sleep(Duration::from_secs(20)).await;
    // The push from the future was looked for once more.
    assert_eq!(scene.calls("history.list"), before + 1);
    assert_once(&scene.done, &scene.delivered);
}

#[tokio::test(start_paused = true)]
async fn a_history_that_is_too_old_is_made_up_for_by_looking_through_the_mail() {
    let mut scene = Scene::new(Config::default());
    scene.provider.deliver_text("bob@example.org", "from before", "nobody's job");
    sleep(DAY).await;
    let process = scene.start().await;
    scene.deliver("seen");
    scene.after(POLL).await;
    process.kill().await;
    for n in 0..1200 {
        scene.deliver(&format!("while nobody ran {n}"));
        sleep(Duration::from_secs(60)).await;
    }
    sleep(9 * DAY).await;
    scene.deliver("late");
    let process = scene.start().await;
    // The queue takes 500 at a time, and the look goes on as it is emptied.
    for _ in 0..20 {
        scene.after(Duration::from_secs(31)).await;
    }
    assert_once(&scene.done, &scene.delivered);
    assert!(scene.calls("messages.list") >= 3);
    let lists = scene.calls("messages.list");
    scene.deliver("after");
    assert_eq!(scene.after(POLL).await, 1);
    assert_eq!((scene.calls("messages.list"), scene.heard()), (lists, vec![]));
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn mail_that_is_too_old_for_a_full_sync_is_passed_over_and_told() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    process.kill().await;
    scene.provider.deliver_text("bob@example.org", "passed over", "x");
    sleep(40 * DAY).await;
    scene.deliver("taken");
    let process = scene.start().await;
    assert_eq!(scene.after(SOON).await, 1);
    assert_eq!(scene.heard(), [Told::Alert(WatchAlert::MailSkipped)]);
    assert_once(&scene.done, &scene.delivered);
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn many_pages_of_history_are_read_to_the_end_while_the_queue_is_full_again_and_again() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    for n in 0..1700 {
        scene.deliver(&n.to_string());
    }
    for _ in 0..20 {
        scene.after(Duration::from_secs(100)).await;
    }
    assert_once(&scene.done, &scene.delivered);
    assert_eq!(scene.calls("messages.list"), 0);
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_stops_the_cursor_and_not_the_mail() {
    let mut scene = Scene::new(Config::default());
    let other: JobKind = "other".try_into().unwrap();
    let process = scene.start().await;
    for n in 0..500 {
        scene.disk.queue.enqueue(scene.clock.now(), NewJob::new(other.clone(), n.to_string())).await.unwrap();
    }
    scene.deliver("waits");
    assert_eq!(scene.after(POLL).await, 0);
    while let Some(lease) =
        scene.disk.queue.lease(scene.clock.now(), std::slice::from_ref(&other), DAY).await.unwrap()
    {
        scene.disk.queue.ack(scene.clock.now(), lease).await.unwrap();
    }
    assert_eq!(scene.after(Duration::from_secs(31)).await, 1);
    assert_once(&scene.done, &scene.delivered);
    assert_eq!(scene.heard(), []);
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_says_so_once_and_a_new_consent_goes_on_without_a_gap() {
    for days in [2, 12] {
        let mut scene = Scene::new(Config::default());
        let process = scene.start().await;
        scene.deliver("before");
        scene.after(POLL).await;
        scene.provider.revoke();
        for n in 0..20 {
            scene.deliver(&format!("meanwhile {n}"));
            sleep(days * DAY / 20).await;
        }
        assert_eq!(scene.heard(), [Told::Alert(WatchAlert::ConsentNeeded)]);
        assert!(!process.handle.access().is_open());
        let tried = scene.provider.stats().unauthorized;
        assert!(tried <= u64::from(days) * 24 + 2, "{tried} tries in {days} days");
        let watches = scene.calls("watch");
        // A restart says nothing more.
        process.kill().await;
        let process = scene.start().await;
        assert_eq!(
            (scene.heard(), process.handle.access().is_open(), scene.calls("watch")),
            (vec![], false, watches)
        );
        scene.provider.grant("token");
        process.handle.consented();
        scene.after(SOON).await;
        assert_eq!(scene.heard(), [Told::Recovered(WatchAlert::ConsentNeeded)]);
        assert!(process.handle.access().is_open() && scene.calls("watch") > watches);
        assert_once(&scene.done, &scene.delivered);
        // After nine days the history is gone.
        assert_eq!(scene.calls("messages.list") > 0, days == 12);
        process.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn jobs_wait_in_the_queue_while_the_grant_is_gone() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    (0..5).for_each(|n| scene.deliver(&n.to_string()));
    sleep(POLL).await;
    // The grant ends after the jobs were made, and before they are worked on.
    scene.provider.revoke();
    let (gmail, handle) = (client(&scene.provider), process.handle.clone());
    let service = service_fn(move |lease: Job| {
        let (gmail, handle) = (gmail.clone(), handle.clone());
        async move {
            let job = MailJob::from_payload(&lease.payload).unwrap();
            let read = gmail.read(&job.message).await;
            Ok::<_, Infallible>(read.map_or_else(|error| handle.failed(&error), |_| Outcome::Done))
        }
    });
    let drain = Drain::new();
    let draining = drain.signal();
    let (access, queue, clock) =
        (process.handle.access().clone(), Arc::clone(&scene.disk.queue), scene.clock.clone());
    let working = tokio::spawn(async move {
        let worker = |drain| {
            let mut config = WorkerConfig::default();
            config.concurrency = 1;
            Worker::new(Arc::clone(&queue), service.clone(), clock.clone(), config).run(drain)
        };
        access.while_open(draining, worker).await;
    });
    sleep(DAY).await;
    let depth = scene.disk.queue.depth().await.unwrap();
    assert_eq!((depth.total(), depth.dead), (5, 0));
    // The first call finds out and no other job is tried. The mailbox itself is tried every hour.
    assert!(scene.calls("messages.get") <= 2, "{}", scene.calls("messages.get"));
    assert_eq!(scene.heard(), [Told::Alert(WatchAlert::ConsentNeeded)]);
    scene.provider.grant("token");
    process.handle.consented();
    sleep(POLL).await;
    let depth = scene.disk.queue.depth().await.unwrap();
    assert_eq!((depth.total(), depth.dead), (0, 0));
    assert_eq!(scene.heard(), [Told::Recovered(WatchAlert::ConsentNeeded)]);
    drain.begin();
    working.await.unwrap();
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_consent_that_nobody_tells_of_is_found_within_an_hour() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    scene.provider.revoke();
    process.handle.token_died();
    sleep(Duration::from_secs(1800)).await;
    assert!(!process.handle.access().is_open());
    scene.deliver("meanwhile");
    scene.provider.grant("token");
    assert_eq!(scene.after(Duration::from_secs(3600)).await, 1);
    assert!(process.handle.access().is_open());
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_another_process_ended_is_noticed_and_armed_anew() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    scene.connect(&process);
    scene.provider.lose_watch();
    for n in 0..3 {
        scene.deliver(&n.to_string());
        scene.after(POLL).await;
    }
    assert_eq!(scene.heard(), [Told::Alert(WatchAlert::PushSilent), Told::Recovered(WatchAlert::PushSilent)]);
    scene.deliver("pushed again");
    assert_eq!(scene.after(SOON).await, 1);
    assert_once(&scene.done, &scene.delivered);
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_for_days_is_told_once_and_no_mail_is_lost() {
    let mut scene = Scene::new(Config::default());
    let process = scene.start().await;
    scene.connect(&process);
    scene.provider.fail_next(Some("watch"), u32::MAX, Trouble::InsufficientPermissions);
    for n in 0..10 {
        sleep(DAY).await;
        scene.deliver(&n.to_string());
        scene.after(POLL).await;
    }
    assert_eq!(
        scene.heard(),
        [Told::Alert(WatchAlert::RenewalFailing), Told::Alert(WatchAlert::WatchExpired)]
    );
    assert_once(&scene.done, &scene.delivered);
    process.end().await;
}

#[tokio::test(start_paused = true)]
async fn two_processes_watch_one_mailbox_without_doing_anything_twice() {
    let mut scene = Scene::new(Config::default());
    let (first, second) = (scene.start().await, scene.start().await);
    scene.connect(&first);
    scene.connect(&second);
    for n in 0..50 {
        scene.deliver(&n.to_string());
        scene.after(Duration::from_millis(700)).await;
    }
    scene.after(POLL).await;
    assert_once(&scene.done, &scene.delivered);
    first.end().await;
    second.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_stands_in_a_file_is_gone_on_from_after_it_was_closed() {
    use livos_core::embedded::{Embedded, EmbeddedConfig};
    let folder = tempfile::tempdir().unwrap();
    let mut scene = Scene::new(Config::default());
    for n in 0..3 {
        let file = Embedded::open(folder.path().join("livos.redb"), EmbeddedConfig::default()).unwrap();
        scene.disk = Disk::of(file.clone());
        let process = scene.start().await;
        scene.after(SOON).await;
        scene.deliver(&format!("seen {n}"));
        scene.after(POLL).await;
        process.end().await;
        scene.deliver(&format!("while it was closed {n}"));
        scene.disk = Disk::new();
        file.close().await;
        drop(file);
    }
    scene.delivered.pop();
    assert_once(&scene.done, &scene.delivered);
    assert_eq!(scene.calls("watch"), 1);
}
