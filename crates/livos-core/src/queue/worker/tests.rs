//! The worker over an embedded queue, in virtual time.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::*;
use crate::{
    drain::Drain,
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        Cadence, DeadLetters, Depth, EmbeddedQueue, Enqueued, Intake, Job, JobKind, NewJob, QueueConfig,
        Repeat, Schedule, Work,
    },
    time::{Clock, Timestamp},
};

/// The test's own time, which the paused runtime moves.
#[derive(Clone)]
struct Virtual(tokio::time::Instant);

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).plus(self.0.elapsed())
    }
}

type Handle = Arc<dyn Fn(Job) -> std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

#[derive(Clone)]
struct Handler(Handle);

impl Service<Job> for Handler {
    type Response = Outcome;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, job: Job) -> Self::Future {
        let work = (self.0)(job);
        Box::pin(async move { Ok(work.await) })
    }
}

struct Rig {
    queue: Arc<EmbeddedQueue>,
    clock: Virtual,
    drain: Drain,
    worker: tokio::task::JoinHandle<()>,
}

fn kind() -> JobKind {
    "test".try_into().unwrap()
}

impl Rig {
    fn new<F>(work: impl Fn(Job) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        let queue = Arc::new(EmbeddedQueue::new(file, QueueConfig::default()));
        let clock = Virtual(tokio::time::Instant::now());
        let drain = Drain::new();
        let signal = drain.signal();
        let handler = Handler(Arc::new(move |job| Box::pin(work(job))));
        let worker =
            Worker::new(Arc::<EmbeddedQueue>::clone(&queue), handler, clock.clone(), WorkerConfig::default());
        let worker = tokio::spawn(worker.run(signal));
        Self { queue, clock, drain, worker }
    }

    async fn enqueue(&self, payload: &'static str) {
        let job = NewJob::new(kind(), payload).with_max_attempts(3);
        let enqueued = self.queue.enqueue(self.clock.now(), job).await.unwrap();
        assert!(matches!(enqueued, Enqueued::Enqueued(_)));
    }

    /// The file's thread works in real time, so virtual time must not run away from it.
    async fn until(&self, reached: impl Fn() -> bool) {
        for _ in 0..100_000 {
            if reached() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            std::thread::sleep(Duration::from_micros(20));
        }
        panic!("it never came to that");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_done_once_and_gone() {
    let done = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&done);
    let rig = Rig::new(move |job| {
        book.lock().unwrap().push(job.payload);
        async { Outcome::Done }
    });
    for payload in ["a", "b", "c"] {
        rig.enqueue(payload).await;
    }
    rig.until(|| done.lock().unwrap().len() == 3).await;
    rig.drain.begin();
    rig.worker.await.unwrap();
    assert_eq!(*done.lock().unwrap(), ["a", "b", "c"]);
    assert_eq!(rig.queue.depth().await.unwrap().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_panics_or_fails_fails_its_attempts_and_nothing_else() {
    let tried = Arc::new(AtomicU32::new(0));
    let attempts = Arc::clone(&tried);
    let rig = Rig::new(move |job| {
        let attempts = Arc::clone(&attempts);
        async move {
            if job.payload == "good" {
                return Outcome::Done;
            }
            attempts.fetch_add(1, Ordering::SeqCst);
            assert_ne!(job.attempt, 2, "deliberate, in a test");
            Outcome::Retry { after: None, reason: "not yet".into() }
        }
    });
    rig.enqueue("bad").await;
    rig.enqueue("good").await;
    rig.until(|| tried.load(Ordering::SeqCst) == 3).await;
    rig.drain.begin();
    rig.worker.await.unwrap();
    let dead = rig.queue.dead(None, 10).await.unwrap();
    assert_eq!(dead.len(), 1, "the other job was done");
    assert_eq!((dead[0].attempts, dead[0].reason.as_str()), (3, "not yet"));
    assert_eq!(rig.queue.depth().await.unwrap().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_no_attempt_and_is_probed_until_it_is_over() {
    let tried = Arc::new(AtomicU32::new(0));
    let probes = Arc::clone(&tried);
    let rig = Rig::new(move |job| {
        let probe = probes.fetch_add(1, Ordering::SeqCst);
        assert_eq!((job.attempt, job.waits), (1, probe));
        let outage = Outcome::Wait { after: None, reason: "the model is away".into() };
        async move { if probe < 4 { outage } else { Outcome::Done } }
    });
    let started = rig.clock.now();
    rig.enqueue("question").await;
    rig.until(|| tried.load(Ordering::SeqCst) == 5).await;
    rig.drain.begin();
    let waited = rig.clock.now().since(started);
    assert!(waited > Duration::from_secs(20), "four waits that grow: {waited:?}");
    rig.worker.await.unwrap();
    assert_eq!(rig.queue.depth().await.unwrap(), Depth::default(), "done, and not dead");
}

#[tokio::test(start_paused = true)]
async fn a_drain_gives_back_what_does_not_finish_in_time() {
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let rig = Rig::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    rig.enqueue("endless").await;
    rig.until(|| begun.load(Ordering::SeqCst) == 1).await;
    rig.drain.begin();
    rig.worker.await.unwrap();
    let lease = rig.queue.lease(rig.clock.now(), &[], Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!(lease.attempt, 1, "the attempt that was cut off does not count");
}

#[tokio::test(start_paused = true)]
async fn a_long_job_keeps_its_lease() {
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let rig = Rig::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async {
            for _ in 0..200 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                std::thread::sleep(Duration::from_micros(200));
            }
            Outcome::Done
        }
    });
    rig.enqueue("long").await;
    rig.until(|| begun.load(Ordering::SeqCst) == 1).await;
    rig.drain.begin();
    let started = rig.clock.now();
    rig.worker.await.unwrap();
    assert!(rig.clock.now().since(started) >= Duration::from_secs(20));
    assert_eq!(begun.load(Ordering::SeqCst), 1, "nobody took it over");
}

/// Set when the future that holds it is dropped.
struct Dropped(Arc<AtomicU32>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn work_on_a_lost_lease_is_dropped_and_settles_nothing() {
    let (begun, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, ends) = (Arc::clone(&begun), Arc::clone(&dropped));
    let rig = Rig::new(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        let ends = Dropped(Arc::clone(&ends));
        async move {
            std::future::pending::<()>().await;
            drop(ends);
            Outcome::Done
        }
    });
    rig.enqueue("taken").await;
    rig.until(|| begun.load(Ordering::SeqCst) == 1).await;
    // To another worker, whose clock is ahead, the lease is over.
    let (later, long) = (rig.clock.now().plus(Duration::from_secs(3600)), Duration::from_secs(7200));
    let taken = rig.queue.lease(later, &[], long).await.unwrap().expect("a lease that is over");
    rig.until(|| dropped.load(Ordering::SeqCst) == 1).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1, "it was leased again while another worker had it");
    rig.queue.ack(rig.clock.now(), taken).await.unwrap();
    assert_eq!(rig.queue.depth().await.unwrap().total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_job_comes_at_its_time() {
    let times = Arc::new(Mutex::new(Vec::new()));
    let book = Arc::clone(&times);
    let rig = Rig::new(move |job| {
        book.lock().unwrap().push(job.enqueued_at);
        async { Outcome::Done }
    });
    let start = rig.clock.now();
    let repeat = Repeat::new("renew", kind(), "x", Cadence::Every(Duration::from_secs(10)));
    rig.queue.repeat(start, repeat).await.unwrap();
    rig.until(|| times.lock().unwrap().len() == 3).await;
    let after: Vec<_> = times.lock().unwrap().iter().map(|at| at.since(start).as_secs()).collect();
    assert_eq!(after, [10, 20, 30]);
    rig.drain.begin();
    rig.worker.await.unwrap();
}
