//! Redis goes away in every way it can, under load: what was accepted is done, it is not stormed
//! meanwhile, and it is found again (P-20).
//!
//! Each test prints what it counted; see it with `--no-capture`. Breaker and checks are quicker
//! than by default, or each test would take a minute.

#![cfg(all(feature = "redis", feature = "test-util"))]
#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.
#![allow(clippy::print_stdout)] // What was counted is shown with `--no-capture`.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use livos_core::{
    breaker::BreakerConfig,
    drain::{Drain, DrainSignal},
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        Enqueued, Intake, Job, JobKind, NewJob, Outcome, Queue, QueueConfig, RedisQueue, SpillConfig,
        SpillQueue, Work as _, Worker, WorkerConfig,
    },
    redis::{Gate, Redis, RedisConfig},
    testing::{RedisServer, SmallDisk},
    time::{Clock, SystemClock},
};
use tower_service::Service;

const KIND: JobKind = JobKind::from_static("load");
const CALLERS: u64 = 8;
/// Jobs a second that are moved out of the file.
const RATE: f64 = 400.0;
/// Nothing here takes this long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(80);
/// Connections that may be tried in a second: five of a server that has just gone, and the
/// listener's.
const STORM: u64 = 10;

/// What was accepted, and how; what was done, and how often.
#[derive(Default)]
struct Book {
    enqueued: Mutex<BTreeSet<u64>>,
    spilled: Mutex<BTreeSet<u64>>,
    done: Mutex<BTreeMap<u64, u32>>,
    refused: AtomicU64,
    failed: AtomicU64,
}

#[derive(Clone)]
struct Writing(Arc<Book>);

impl Service<Job> for Writing {
    type Response = Outcome;
    type Error = Infallible;
    type Future = Ready<Result<Outcome, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        let n = std::str::from_utf8(&job.payload[..8]).unwrap().trim().parse().unwrap();
        *self.0.done.lock().unwrap().entry(n).or_default() += 1;
        ready(Ok(Outcome::Done))
    }
}

struct Rig {
    server: RedisServer,
    folder: tempfile::TempDir,
    redis: Redis,
    queue: Arc<SpillQueue<SystemClock>>,
    book: Arc<Book>,
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    drain: Drain,
    signal: DrainSignal,
}

impl Rig {
    async fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &[&RedisServer::DURABLE, options].concat());
        Self::around(server, folder).await
    }

    async fn around(server: RedisServer, folder: tempfile::TempDir) -> Self {
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        let mut bounds = QueueConfig::default();
        (bounds.refuse_at, bounds.alert_at) = (100_000, 100_000);
        let mut breaker = BreakerConfig::default();
        breaker.open_for = Duration::from_secs(1);
        let mut spill = SpillConfig::default();
        (spill.rate, spill.check_every, spill.most) = (RATE, Duration::from_millis(250), 100_000);
        let file = Embedded::open(folder.path().join("spill.redb"), EmbeddedConfig::default()).unwrap();
        let queue = RedisQueue::new(redis.clone(), "load", bounds).unwrap();
        let gate = Gate::new(redis.clone(), breaker);
        let queue = Arc::new(SpillQueue::new(queue, gate, file, SystemClock, spill).await.unwrap());
        let drain = Drain::new();
        let signal = drain.signal();
        let (book, stop) = (Arc::default(), Arc::default());
        let mut rig = Self { server, folder, redis, queue, book, stop, tasks: Vec::new(), drain, signal };
        let (queue, signal) = (Arc::clone(&rig.queue), rig.signal.clone());
        rig.tasks.push(tokio::spawn(async move { queue.run(signal).await }));
        for caller in 0..CALLERS {
            let intake = intake(caller, Arc::clone(&rig.queue), Arc::clone(&rig.book), Arc::clone(&rig.stop));
            rig.tasks.push(tokio::spawn(intake));
        }
        rig
    }

    fn work(&mut self) {
        let mut config = WorkerConfig::default();
        // A lease whose answer was lost ends soon.
        (config.visibility, config.idle) = (Duration::from_secs(3), Duration::from_millis(200));
        let queue: Arc<dyn Queue> = Arc::<SpillQueue<_>>::clone(&self.queue);
        let worker = Worker::new(queue, Writing(Arc::clone(&self.book)), SystemClock, config);
        self.tasks.push(tokio::spawn(worker.run(self.signal.clone())));
    }

    /// Lets it work for a while; answers the most attempts to connect that were made in a second of
    /// it.
    async fn watch(&self, time: Duration) -> u64 {
        let (begun, mut most) = (Instant::now(), 0);
        while begun.elapsed() < time {
            let before = self.redis.attempts();
            tokio::time::sleep(Duration::from_secs(1).min(time)).await;
            most = most.max(self.redis.attempts() - before);
        }
        most
    }

    /// The server is back: waits until all is well, ends the load, waits until all is done, and
    /// counts.
    async fn settle(mut self, what: &str, storm: u64) -> Arc<Book> {
        let (back, spilled) = (Instant::now(), self.queue.health().spilled);
        self.until("a probe finds it", |rig| rig.queue.health().reason.is_none()).await;
        let found = back.elapsed();
        // The load goes on at first.
        tokio::time::sleep(BEFORE).await;
        self.stop.store(true, Ordering::SeqCst);
        self.until("the file is empty", |rig| rig.queue.health().spilled == 0).await;
        let emptied = back.elapsed();
        assert!(
            emptied.as_secs_f64() > spilled as f64 / RATE / 2.0,
            "{spilled} jobs came in a herd: {emptied:?}"
        );
        let limit = Instant::now() + PATIENCE;
        while self.queue.depth().await.map_or(1, |depth| depth.total()) > 0 {
            assert!(Instant::now() < limit, "{:?} are left", self.queue.depth().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(self.queue.health().ready, "{:?}", self.queue.health());
        self.drain.begin();
        for task in self.tasks.drain(..) {
            task.await.unwrap();
        }
        let (enqueued, put_aside) = (self.book.enqueued.lock().unwrap(), self.book.spilled.lock().unwrap());
        println!(
            "{what}: {} accepted ({} into the file), {} refused, {} answered with an error; at most {storm} attempts to connect in a second; found again \
             after {found:.1?}, the file empty after {emptied:.1?}",
            enqueued.len() + put_aside.len(),
            put_aside.len(),
            self.book.refused.load(Ordering::SeqCst),
            self.book.failed.load(Ordering::SeqCst),
        );
        assert!(storm <= STORM, "{storm} attempts to connect in a second");
        drop((enqueued, put_aside));
        Arc::clone(&self.book)
    }

    async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !reached(self) {
            assert!(Instant::now() < limit, "{what}: {:?}", self.queue.health());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// One caller's jobs, each tried until it is accepted.
async fn intake(caller: u64, queue: Arc<SpillQueue<SystemClock>>, book: Arc<Book>, stop: Arc<AtomicBool>) {
    for n in (caller..).step_by(CALLERS as usize) {
        loop {
            if stop.load(Ordering::SeqCst) {
                return;
            }
            // Large enough to fill a small server.
            let job = NewJob::new(KIND, format!("{n:8}{:500}", "")).deduped_by(n.to_string(), PATIENCE * 10);
            let accepted = match queue.enqueue(SystemClock.now(), job).await {
                Ok(Enqueued::Enqueued(_)) => book.enqueued.lock().unwrap().insert(n),
                Ok(Enqueued::Spilled) => book.spilled.lock().unwrap().insert(n),
                Ok(Enqueued::Duplicate(id)) => panic!("{n} is new, and not {id}"),
                Ok(Enqueued::Full { .. }) => {
                    book.refused.fetch_add(1, Ordering::SeqCst);
                    false
                }
                Err(_) => {
                    book.failed.fetch_add(1, Ordering::SeqCst);
                    false
                }
            };
            tokio::time::sleep(Duration::from_millis(50)).await;
            if accepted {
                break;
            }
        }
    }
}

/// Nothing that was accepted is missing, and what was done twice was an attempt whose ack was lost.
fn nothing_is_lost(book: &Book) {
    let (enqueued, spilled) = (book.enqueued.lock().unwrap(), book.spilled.lock().unwrap());
    let done = book.done.lock().unwrap();
    let lost: Vec<_> = enqueued.union(&spilled).filter(|n| !done.contains_key(n)).collect();
    assert!(lost.is_empty(), "{lost:?} were accepted and never done");
    assert!(enqueued.len() > 50, "there was load before and after: {}", enqueued.len());
    assert!(spilled.len() > 50, "there was load meanwhile: {}", spilled.len());
    let twice = done.values().filter(|times| **times > 1).count();
    println!("  of these {twice} were done again, because their ack or their lease was lost on the way");
    assert!(twice < 50, "{twice}");
}

const BEFORE: Duration = Duration::from_secs(1);
const AWAY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_for_a_while_loses_nothing() {
    let mut rig = Rig::start(&[]).await;
    rig.work();
    rig.watch(BEFORE).await;
    rig.server.kill();
    let storm = rig.watch(AWAY).await;
    let health = rig.queue.health();
    assert!(!health.ready && health.spilled > 0 && health.reason.is_some(), "{health:?}");
    rig.server.restart();
    nothing_is_lost(&*rig.settle("stopped", storm).await);
}

/// Callers go away in the middle of it, and the largest job is as welcome as the smallest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_goes_away_leaves_no_trace_in_the_count() {
    let mut rig = Rig::start(&[]).await;
    rig.stop.store(true, Ordering::SeqCst);
    rig.server.kill();
    let largest = NewJob::new(KIND, vec![b' '; NewJob::MAX_PAYLOAD]);
    for n in 0..200u64 {
        let enqueue = rig.queue.enqueue(SystemClock.now(), NewJob::new(KIND, format!("{n:8}")));
        let _ = tokio::time::timeout(Duration::from_micros(n * 20), enqueue).await;
    }
    let spilled = rig.queue.enqueue(SystemClock.now(), largest).await.unwrap();
    assert_eq!(spilled, Enqueued::Spilled);
    rig.server.restart();
    rig.until("all is moved, and counted", |rig| rig.queue.health().ready).await;
    let first = rig.queue.lease(SystemClock.now(), &[], PATIENCE).await.unwrap();
    assert!(first.is_some(), "some callers stayed long enough");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_for_a_while_loses_nothing() {
    let mut rig = Rig::start(&[]).await;
    rig.work();
    rig.watch(BEFORE).await;
    rig.server.pause();
    let storm = rig.watch(AWAY).await;
    assert!(!rig.queue.health().ready);
    rig.server.resume();
    nothing_is_lost(&*rig.settle("paused", storm).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_and_started_again_and_again_loses_nothing() {
    let mut rig = Rig::start(&[]).await;
    rig.work();
    let mut storm = 0;
    for _ in 0..4 {
        storm = storm.max(rig.watch(BEFORE).await);
        rig.server.restart();
    }
    nothing_is_lost(&*rig.settle("restarted four times", storm).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_long_to_load_its_file_loses_nothing() {
    let mut rig = Rig::start(&[]).await;
    rig.work();
    rig.watch(BEFORE).await;
    rig.server.kill();
    // It accepts connections, and answers that it is loading.
    rig.server.launch_with(&["--key-load-delay", "400", "--loading-process-events-interval-bytes", "1024"]);
    let launched = Instant::now();
    let storm = rig.watch(AWAY).await;
    rig.server.wait();
    println!("it loaded for {:.1?}", launched.elapsed());
    nothing_is_lost(&*rig.settle("restarted slowly", storm).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_full_takes_nothing_gives_everything_and_loses_nothing() {
    let mut rig = Rig::start(&["--maxmemory", "2mb"]).await;
    // Without workers it fills by the jobs themselves.
    rig.until("it is full", |rig| rig.queue.health().spilled > 100).await;
    let health = rig.queue.health();
    assert!(!health.ready && health.reason.as_ref().is_some_and(|why| why.contains("memory")), "{health:?}");
    assert!(rig.redis.memory().await.unwrap().is_nearly_full());
    // It lets jobs out while it lets none in, and so makes room by itself.
    rig.work();
    let storm = rig.watch(AWAY).await;
    nothing_is_lost(&*rig.settle("filled to maxmemory", storm).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_disk_is_full_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), 256 << 10) else { return };
    let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
    let mut rig = Rig::around(server, tempfile::tempdir().unwrap()).await;
    // It ends by itself, because it can't keep what it would have to promise.
    rig.until("its disk is full", |rig| rig.queue.health().spilled > 100).await;
    let storm = rig.watch(BEFORE).await;
    disk.resize(64 << 20);
    rig.server.restart();
    rig.work();
    nothing_is_lost(&*rig.settle("its disk was full", storm).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_comes_back_empty_is_noticed_and_gets_what_the_file_holds() {
    let mut rig = Rig::start(&[]).await;
    rig.until("it is known", |rig| rig.book.enqueued.lock().unwrap().len() > 100).await;
    rig.server.kill();
    std::fs::remove_dir_all(rig.folder.path().join("appendonlydir")).unwrap();
    let storm = rig.watch(AWAY).await;
    rig.server.restart();
    rig.work();
    rig.until("it is noticed", |rig| rig.queue.health().emptied == 1).await;
    let book = rig.settle("restarted empty", storm).await;
    let (spilled, done) = (book.spilled.lock().unwrap(), book.done.lock().unwrap());
    let lost = book.enqueued.lock().unwrap().iter().filter(|n| !done.contains_key(n)).count();
    println!("  {lost} jobs that only the emptied server had are lost, as its operator is told");
    assert!(spilled.len() > 50 && lost > 0);
    assert_eq!(spilled.iter().find(|n| !done.contains_key(n)), None, "the file held it, and it was not done");
}
