//! A process that is cut off at every await between poll, enqueue and cursor, over a store that
//! stays.

use std::{collections::BTreeMap, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use livos_core::{drain::Drain, testing::matrix, time::Clock};
use livos_integrations::gmail::{Told, WatchAlert, WatchConfig, Watcher};
use livos_twins::gmail::{Config, Gmail as Provider};
use tokio::time::sleep;

use crate::support::{ADDRESS, Disk, TOPIC, Virtual, assert_once, fused_client, provider, work};

/// Lives for so many wake-ups, and is dropped where it is then; false where it went to sleep
/// before.
async fn life(provider: &Provider, disk: &Disk, clock: &Virtual, wakes: u32) -> bool {
    let (queue, store) = (Arc::clone(&disk.queue), Arc::clone(&disk.store));
    let tell = |told| assert!(matches!(told, Told::Alert(WatchAlert::MailSkipped)), "{told:?}");
    let watcher = Watcher::new(
        fused_client(provider, &disk.fuse),
        ADDRESS,
        queue,
        store,
        clock.clone(),
        tell,
        WatchConfig::push(TOPIC),
    )
    .unwrap();
    let drain = Drain::new();
    let draining = drain.signal();
    let mut run = pin!(watcher.run(draining));
    let mut woken = 0;
    let killed = poll_fn(|cx| {
        woken += 1;
        if woken > wakes {
            return Poll::Ready(());
        }
        run.as_mut().poll(cx)
    });
    // A run with nothing more to do sleeps for longer than this.
    tokio::time::timeout(Duration::from_secs(1), killed).await.is_ok()
}

/// Where a life ends.
#[derive(Clone, Copy)]
enum Kill {
    /// At this wake-up: whatever was asked is under way.
    Wake(u32),
    /// Before or after this thing that is asked of Gmail, the queue or the store.
    Step(u32),
}

/// The same story again and again, with a kill at the first place, at the second, and so on until a
/// life does all there is. Answers how many kills there were.
async fn kill_everywhere(kill: fn(u32) -> Kill, forget: bool) -> u32 {
    for place in 1.. {
        let provider = provider(Config::default());
        let (disk, clock, mut done) = (Disk::new(), Virtual::new(), BTreeMap::new());
        assert!(!life(&provider, &disk, &clock, u32::MAX).await);
        let mut delivered = Vec::new();
        let mut deliver = |count: usize| {
            delivered
                .extend((0..count).map(|n| provider.deliver_text("bob@example.org", &n.to_string(), "x")));
        };
        deliver(3);
        if forget {
            provider.forget_history();
        }
        let killed = match kill(place) {
            Kill::Wake(wakes) => life(&provider, &disk, &clock, wakes).await,
            Kill::Step(steps) => {
                disk.fuse.set(steps);
                life(&provider, &disk, &clock, u32::MAX).await;
                let killed = disk.fuse.is_gone();
                disk.fuse.set(u32::MAX);
                killed
            }
        };
        // What was acked must not come again either.
        if place % 2 == 0 {
            work(&disk, &clock, &mut done).await;
        }
        deliver(2);
        assert!(!life(&provider, &disk, &clock, u32::MAX).await);
        work(&disk, &clock, &mut done).await;
        assert_once(&done, &delivered);
        if !killed {
            return place - 1;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn a_kill_between_any_two_steps_loses_nothing_and_does_nothing_twice() {
    // State, cursor, history, three jobs, and the cursor read and moved: each before and after.
    assert_eq!(kill_everywhere(Kill::Step, false).await, 2 * 8);
    assert!(kill_everywhere(Kill::Wake, false).await > 0);
}

#[tokio::test(start_paused = true)]
async fn nor_does_a_kill_in_the_middle_of_a_full_sync() {
    // The profile and the list besides.
    assert_eq!(kill_everywhere(Kill::Step, true).await, 2 * 10);
    assert!(kill_everywhere(Kill::Wake, true).await > 0);
}

/// The whole matrix.
const KILLS: u64 = 200;

#[tokio::test(start_paused = true)]
async fn kills_at_random_instants_over_a_real_file_lose_nothing() {
    use livos_core::embedded::{Embedded, EmbeddedConfig};
    use rand::{Rng, SeedableRng, rngs::SmallRng};
    let folder = tempfile::tempdir().unwrap();
    let file = Embedded::open(folder.path().join("livos.redb"), EmbeddedConfig::default()).unwrap();
    let disk = Disk::of(file);
    let provider = provider(Config { units_per_minute: None, ..Config::default() });
    let (clock, mut done, mut delivered) = (Virtual::new(), BTreeMap::new(), Vec::new());
    let mut random = SmallRng::seed_from_u64(3);
    assert!(!life(&provider, &disk, &clock, u32::MAX).await);
    let (kills, mut killed) = (matrix(KILLS), 0);
    while killed < kills {
        for n in 0..random.random_range(0..3) {
            delivered.push(provider.deliver_text("bob@example.org", &n.to_string(), "x"));
        }
        if random.random_bool(0.05) {
            provider.forget_history();
        }
        killed += u64::from(life(&provider, &disk, &clock, random.random_range(1..40)).await);
        if random.random_bool(0.3) {
            work(&disk, &clock, &mut done).await;
        }
        sleep(Duration::from_secs(random.random_range(0..120))).await;
    }
    assert!(!life(&provider, &disk, &clock, u32::MAX).await);
    work(&disk, &clock, &mut done).await;
    assert_once(&done, &delivered);
    assert!(delivered.len() as u64 > kills / 2 && clock.now().unix_ms() > 0);
}
