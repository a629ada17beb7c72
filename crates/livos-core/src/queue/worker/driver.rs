//! The loop of a worker.

use std::{fmt, sync::Arc, time::Duration};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_service::Service;
use tracing::Instrument;

use super::{
    attempt::{Attempt, Ended},
    config::{Outcome, WorkerConfig},
};
use crate::{
    backoff::{Backoff, BackoffConfig},
    drain::DrainSignal,
    load::Load,
    queue::{Job, Lease, LeaseError, Nack, Queue},
    time::Clock,
};

/// Works on the jobs of a queue with a service from [`Job`] to [`Outcome`]. If the service panics
/// or fails, that is one failed attempt and nothing else.
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
    S: Service<Job, Response = Outcome> + Clone + Send + 'static,
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

    /// Works until the drain; then finishes what runs, or gives it back. If the future is dropped,
    /// running jobs are cut off and their leases expire.
    pub async fn run(self, drain: DrainSignal) {
        let mut news = self.queue.listen();
        let (mut running, cut_off) = (JoinSet::new(), CancellationToken::new());
        while !drain.is_draining() {
            // Both before looking for a job: what becomes ready from here on is not slept over.
            let sleep = self.tick().await;
            if running.len() < self.config.concurrency.max(1) && self.lease(&mut running, &cut_off).await {
                continue;
            }
            tokio::select! {
                biased;
                () = drain.draining() => {}
                Some(_) = running.join_next() => {}
                () = news.wait(sleep) => {}
            }
        }
        self.finish(running, &cut_off).await;
    }

    /// Does what is due, and answers for how long nothing else is.
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

    /// Leases one job and begins it; false if there is none, or the queue can't be asked.
    async fn lease(&self, running: &mut JoinSet<()>, cut_off: &CancellationToken) -> bool {
        match self.queue.lease(self.clock.now(), &self.config.kinds, self.config.visibility).await {
            Ok(Some(lease)) => {
                running.spawn(self.attempt(lease, cut_off.clone()));
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::error!(%error, "the queue could not be asked for a job");
                false
            }
        }
    }

    /// Works on one job and settles it.
    fn attempt(&self, lease: Lease, cut_off: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        let (queue, clock) = (Arc::clone(&self.queue), self.clock.clone());
        let settling = Settling {
            queue: Arc::clone(&queue),
            clock: clock.clone(),
            backoff: self.config.backoff,
            outage: self.config.outage,
        };
        let attempt = Attempt { queue, clock, visibility: self.config.visibility, cut_off };
        let (service, alive) = (self.service.clone(), self.load.begin("job"));
        let span = tracing::info_span!("job", kind = %lease.kind, id = %lease.id, attempt = lease.attempt);
        let work = async move {
            let _alive = alive;
            let running = metrics::gauge!("livos_queue_running");
            running.increment(1.0);
            let job = lease.job().clone();
            let ended = attempt.run(lease, service).await;
            running.decrement(1.0);
            settling.settle(&job, ended).await;
        };
        work.instrument(span)
    }

    /// The drain: running jobs may finish for a while.
    async fn finish(&self, mut running: JoinSet<()>, cut_off: &CancellationToken) {
        let finished = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(self.config.drain_patience, finished).await.is_err() {
            tracing::warn!(jobs = running.len(), "the drain gives running jobs back");
            cut_off.cancel();
            while running.join_next().await.is_some() {}
        }
    }
}

/// What an attempt needs to settle its job.
struct Settling<C> {
    queue: Arc<dyn Queue>,
    clock: C,
    backoff: BackoffConfig,
    outage: BackoffConfig,
}

impl<C: Clock> Settling<C> {
    /// Acks, or gives back.
    async fn settle(&self, job: &Job, ended: Ended) {
        let (lease, outcome) = match ended {
            Ended::Worked(lease, outcome) => (lease, outcome),
            Ended::CutOff(lease) => return self.give_back(lease, Nack::Release).await,
            Ended::Lost => return tracing::warn!(job = %job.id, kind = %job.kind, "a lease was lost"),
        };
        let name = match &outcome {
            Outcome::Done => "done",
            Outcome::Retry { .. } => "retry",
            Outcome::Wait { .. } => "wait",
            Outcome::Dead { .. } => "dead",
        };
        let kind = job.kind.to_string();
        metrics::counter!("livos_queue_attempts_total", "kind" => kind, "outcome" => name).increment(1);
        match outcome {
            Outcome::Done => match self.queue.ack(self.clock.now(), lease).await {
                Ok(()) => {}
                Err(LeaseError::Failed { source: error, .. }) => {
                    tracing::error!(job = %job.id, %error, "a job could not be acked, and will come again");
                }
                Err(lost) => tracing::warn!(job = %job.id, kind = %job.kind, %lost, "done too late"),
            },
            Outcome::Retry { after, reason } => {
                tracing::warn!(job = %job.id, kind = %job.kind, attempt = job.attempt, reason, "a job failed");
                let backoff = Backoff::delay_of(self.backoff, job.attempt, lease.fence());
                let after = after.map_or(backoff, |asked| asked.max(backoff));
                self.give_back(lease, Nack::Retry { after, reason }).await;
            }
            Outcome::Wait { after, reason } => {
                tracing::warn!(job = %job.id, kind = %job.kind, waits = job.waits, reason, "a job waits for an outage to end");
                let backoff = Backoff::delay_of(self.outage, job.waits.saturating_add(1), lease.fence());
                let after = after.map_or(backoff, |asked| asked.max(backoff));
                self.give_back(lease, Nack::Wait { after }).await;
            }
            Outcome::Dead { reason } => {
                tracing::error!(job = %job.id, kind = %job.kind, reason, "a job can't be done");
                self.give_back(lease, Nack::Dead { reason }).await;
            }
        }
    }

    async fn give_back(&self, lease: Lease, how: Nack) {
        if let Err(LeaseError::Failed { lease, source: error }) =
            self.queue.nack(self.clock.now(), lease, how).await
        {
            tracing::error!(job = %lease.id, %error, "a job could not be given back; its lease will expire");
        }
    }
}
