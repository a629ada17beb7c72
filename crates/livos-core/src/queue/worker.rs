//! The driver of the work: leases jobs, hands them to a service, extends their leases while it
//! works, and settles them.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};
use tower_service::Service;
use tracing::Instrument;

use super::{JobKind, Lease, Nack, Queue, Token};
use crate::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    supervise::Load,
    time::Clock,
};

/// How a worker works.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// The kinds of jobs it takes; all where none is named.
    pub kinds: Vec<JobKind>,
    /// Jobs at one time. 4: a job mostly waits for somebody else.
    pub concurrency: usize,
    /// How long a job is hidden unless its lease is extended, which happens every third of it. 60
    /// s: a dead worker's job is taken over a minute later.
    pub visibility: Duration,
    /// The waits after failed attempts.
    pub backoff: BackoffConfig,
    /// The longest sleep. 5 s: jobs that another process enqueued are found then at the latest.
    pub idle: Duration,
    /// How long running jobs may go on once the drain has begun; then they are given back, and
    /// their attempt does not count. 20 s.
    pub drain_patience: Duration,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        let backoff = BackoffConfig { longest: Duration::from_secs(3600), ..BackoffConfig::default() };
        Self {
            kinds: Vec::new(),
            concurrency: 4,
            visibility: Duration::from_secs(60),
            backoff,
            idle: Duration::from_secs(5),
            drain_patience: Duration::from_secs(20),
        }
    }
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done, and gone.
    Done,
    /// Failed for now: again, after this time or after the worker's backoff.
    Retry {
        /// Not sooner than this, where a provider asked for time.
        after: Option<Duration>,
        /// Why.
        reason: String,
    },
    /// It can't succeed.
    Dead {
        /// Why.
        reason: String,
    },
}

/// Works on the jobs of a queue with a service from [`Lease`] to [`Outcome`]. A service that panics
/// or fails has failed one attempt, and nothing else.
pub struct Worker<S, C> {
    queue: Arc<dyn Queue>,
    service: S,
    clock: C,
    config: WorkerConfig,
    load: Load,
}

impl<S, C> fmt::Debug for Worker<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<S, C> Worker<S, C>
where
    S: Service<Lease, Response = Outcome> + Clone + Send + 'static,
    S::Error: fmt::Display + Send,
    S::Future: Send,
    C: Clock + Clone,
{
    /// A worker on this queue.
    pub fn new(queue: Arc<dyn Queue>, service: S, clock: C, config: WorkerConfig) -> Self {
        Self { queue, service, clock, config, load: Load::new() }
    }

    /// Counts its jobs as work of the process.
    #[must_use]
    pub fn with_load(mut self, load: Load) -> Self {
        self.load = load;
        self
    }

    /// Works until the drain; then finishes what runs, or gives it back. Dropping the future cuts
    /// off what runs; its leases expire.
    pub async fn run(self, drain: DrainSignal) {
        let mut news = self.queue.listen();
        let mut running = Running::default();
        while !drain.is_draining() {
            // Both before looking for a job: what becomes ready from here on is not slept over.
            let sleep = self.tick().await;
            let leased = running.len() < self.config.concurrency.max(1) && self.lease(&mut running).await;
            if leased {
                continue;
            }
            tokio::select! {
                biased;
                () = drain.draining() => {}
                Some(ended) = running.next() => self.settle(ended).await,
                () = news.wait(sleep) => {}
            }
        }
        self.finish(running).await;
    }

    /// Does what is due, and answers how long nothing else will be.
    async fn tick(&self) -> Duration {
        let now = self.clock.now();
        if let Err(error) = self.queue.tick(now).await {
            tracing::error!(%error, "repeated jobs could not be enqueued");
        }
        match self.queue.next_due(now).await {
            Ok(Some(due)) => due.since(now).clamp(Duration::from_millis(1), self.config.idle),
            _ => self.config.idle,
        }
    }

    /// Leases one job and begins it; false where there is none, or the queue can't be asked.
    async fn lease(&self, running: &mut Running) -> bool {
        match self.queue.lease(self.clock.now(), &self.config.kinds, self.config.visibility).await {
            Ok(Some(lease)) => {
                let (queue, clock) = (Arc::clone(&self.queue), self.clock.clone());
                let (service, visibility) = (self.service.clone(), self.config.visibility);
                metrics::gauge!("livos_queue_running").increment(1.0);
                let alive = self.load.begin("job");
                let span =
                    tracing::info_span!("job", kind = %lease.kind, id = %lease.id, attempt = lease.attempt);
                let attempt = attempt(queue, service, clock, lease.clone(), visibility);
                let attempt = async move {
                    let _alive = alive;
                    attempt.await
                };
                running.begin(&lease, attempt.instrument(span));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "the queue could not be asked for a job");
                false
            }
        }
    }

    /// Acks, or gives back.
    async fn settle(&self, (lease, ended): Ended) {
        metrics::gauge!("livos_queue_running").decrement(1.0);
        let outcome = match ended {
            Ok(Some(outcome)) => outcome,
            // Taken over by another worker while it ran.
            Ok(None) => return tracing::warn!(job = %lease.id, kind = %lease.kind, "a lease was lost"),
            Err(error) if error.is_cancelled() => return self.give_back(&lease, Nack::Release).await,
            Err(_) => Outcome::Retry { after: None, reason: "the service panicked".into() },
        };
        let name = match &outcome {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Dead { .. } => "dead",
        };
        let kind = lease.kind.to_string();
        metrics::counter!("livos_queue_attempts_total", "kind" => kind, "outcome" => name).increment(1);
        match outcome {
            Outcome::Done => match self.queue.ack(self.clock.now(), lease.token).await {
                Ok(Ok(())) => {}
                Ok(Err(lost)) => tracing::warn!(job = %lease.id, kind = %lease.kind, %lost, "done too late"),
                Err(error) => {
                    tracing::error!(job = %lease.id, %error, "a job could not be acked, and will come again");
                }
            },
            Outcome::Retry { after, reason } => {
                tracing::warn!(job = %lease.id, kind = %lease.kind, attempt = lease.attempt, reason, "a job failed");
                let backoff = Backoff::delay_of(self.config.backoff, lease.attempt, lease.token.lease);
                let after = after.map_or(backoff, |asked| asked.max(backoff));
                self.give_back(&lease, Nack::Retry { after, reason }).await;
            }
            Outcome::Dead { reason } => {
                tracing::error!(job = %lease.id, kind = %lease.kind, reason, "a job can't be done");
                self.give_back(&lease, Nack::Dead { reason }).await;
            }
        }
    }

    async fn give_back(&self, lease: &Lease, how: Nack) {
        if let Err(error) = self.queue.nack(self.clock.now(), lease.token, how).await {
            tracing::error!(job = %lease.id, %error, "a job could not be given back; its lease will expire");
        }
    }

    /// The drain: what runs may finish for a while.
    async fn finish(&self, mut running: Running) {
        let patience = tokio::time::sleep(self.config.drain_patience);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                ended = running.next() => match ended {
                    Some(ended) => self.settle(ended).await,
                    None => return,
                },
                () = &mut patience => break,
            }
        }
        tracing::warn!(jobs = running.len(), "the drain gives running jobs back");
        running.tasks.abort_all();
        while let Some(ended) = running.next().await {
            self.settle(ended).await;
        }
    }
}

/// A lease, and its outcome: none where it was lost, an error where the service panicked or was cut
/// off.
type Ended = (Lease, Result<Option<Outcome>, JoinError>);

/// The jobs under way. Dropping it cuts them off.
#[derive(Default)]
struct Running {
    tasks: JoinSet<Option<Outcome>>,
    leases: HashMap<Id, Lease>,
}

impl Running {
    fn len(&self) -> usize {
        self.tasks.len()
    }

    fn begin(&mut self, lease: &Lease, attempt: impl Future<Output = Option<Outcome>> + Send + 'static) {
        let task = self.tasks.spawn(attempt);
        self.leases.insert(task.id(), lease.clone());
    }

    /// The next that ended; none where nothing runs.
    async fn next(&mut self) -> Option<Ended> {
        let ended = self.tasks.join_next_with_id().await?;
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, Ok(outcome)),
            Err(error) => (error.id(), Err(error)),
        };
        Some((self.leases.remove(&id)?, outcome))
    }
}

/// One attempt, with its lease kept; none where the lease was lost meanwhile.
async fn attempt<S, C>(
    queue: Arc<dyn Queue>,
    mut service: S,
    clock: C,
    lease: Lease,
    visibility: Duration,
) -> Option<Outcome>
where
    S: Service<Lease, Response = Outcome> + Send,
    S::Error: fmt::Display + Send,
    S::Future: Send,
    C: Clock,
{
    let token = lease.token;
    let work = async {
        let failed = |error: S::Error| Outcome::Retry { after: None, reason: error.to_string() };
        if let Err(error) = std::future::poll_fn(|cx| service.poll_ready(cx)).await {
            return failed(error);
        }
        service.call(lease).await.unwrap_or_else(failed)
    };
    tokio::select! {
        biased;
        outcome = work => Some(outcome),
        () = keep(&*queue, &clock, token, visibility) => None,
    }
}

/// Extends a lease until it is lost.
async fn keep(queue: &dyn Queue, clock: &dyn Clock, token: Token, visibility: Duration) {
    let mut held_until = tokio::time::Instant::now() + visibility;
    loop {
        tokio::time::sleep(visibility / 3).await;
        let asked = tokio::time::Instant::now();
        match queue.extend(clock.now(), token, visibility).await {
            Ok(Ok(())) => held_until = asked + visibility,
            Ok(Err(_)) => return,
            Err(error) if tokio::time::Instant::now() < held_until => {
                tracing::warn!(%error, "a lease could not be extended yet");
            }
            // Somebody else may have it by now: to go on would be to do the work twice.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Poll},
    };

    use super::*;
    use crate::{
        drain::Drain,
        embedded::{Embedded, EmbeddedConfig},
        queue::{Cadence, EmbeddedQueue, Enqueued, NewJob, QueueConfig, Repeat},
        time::Timestamp,
    };

    /// The test's own time, which the paused runtime moves.
    #[derive(Clone)]
    struct Virtual(tokio::time::Instant);

    impl Clock for Virtual {
        fn now(&self) -> Timestamp {
            Timestamp::from_unix_ms(1_800_000_000_000).plus(self.0.elapsed())
        }
    }

    type Work = Arc<dyn Fn(Lease) -> std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>> + Send + Sync>;

    #[derive(Clone)]
    struct Handler(Work);

    impl Service<Lease> for Handler {
        type Response = Outcome;
        type Error = Infallible;
        type Future = std::pin::Pin<Box<dyn Future<Output = Result<Outcome, Infallible>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, lease: Lease) -> Self::Future {
            let work = (self.0)(lease);
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
        fn new<F>(work: impl Fn(Lease) -> F + Send + Sync + 'static) -> Self
        where
            F: Future<Output = Outcome> + Send + 'static,
        {
            let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
            let queue = Arc::new(EmbeddedQueue::new(file, QueueConfig::default()));
            let clock = Virtual(tokio::time::Instant::now());
            let (drain, signal) = Drain::new();
            let handler = Handler(Arc::new(move |lease| Box::pin(work(lease))));
            let worker = Worker::new(
                Arc::<EmbeddedQueue>::clone(&queue),
                handler,
                clock.clone(),
                WorkerConfig::default(),
            );
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
        let rig = Rig::new(move |lease| {
            book.lock().unwrap().push(lease.payload);
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
        let rig = Rig::new(move |lease| {
            let attempts = Arc::clone(&attempts);
            async move {
                if lease.payload == "good" {
                    return Outcome::Done;
                }
                attempts.fetch_add(1, Ordering::SeqCst);
                assert_ne!(lease.attempt, 2, "deliberate, in a test");
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

    #[tokio::test(start_paused = true)]
    async fn a_repeated_job_comes_at_its_time() {
        let times = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&times);
        let rig = Rig::new(move |lease| {
            book.lock().unwrap().push(lease.enqueued_at);
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
}
