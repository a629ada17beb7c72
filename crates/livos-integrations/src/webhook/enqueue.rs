//! The one door: a verified delivery becomes a durable job, or is a duplicate of one, in one step.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use livos_core::{
    queue::{Enqueued, JobKind, NewJob, Queue, QueueError},
    time::{Clock, Timestamp},
};
use tower_service::Service;

use super::delivery::{Delivery, Verified};

type MakeJob = Arc<dyn Fn(Timestamp, &Delivery) -> NewJob + Send + Sync>;

/// Enqueues verified deliveries.
///
/// Two endpoints with kinds of their own do not dedupe each other's deliveries. The queue logs and
/// counts when it fills, and refuses when it is full.
#[derive(Clone)]
pub struct Enqueue<C> {
    queue: Arc<dyn Queue>,
    clock: C,
    make: MakeJob,
}

impl<C> fmt::Debug for Enqueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").finish_non_exhaustive()
    }
}

impl<C> Enqueue<C> {
    /// As jobs of one kind, whose payload is a [`super::Received`]. Each delivery is remembered for
    /// `retention`, see [`super::ProviderPolicy::retention`].
    pub fn new(queue: Arc<dyn Queue>, kind: JobKind, clock: C, retention: Duration) -> Self {
        Self::by(queue, clock, move |now, delivery| {
            let payload = delivery.received(now).to_payload();
            NewJob::new(kind.clone(), payload).deduped_by(delivery.key(), retention)
        })
    }

    /// As jobs that this function makes. It must give the job a dedupe key.
    pub fn by(
        queue: Arc<dyn Queue>,
        clock: C,
        make: impl Fn(Timestamp, &Delivery) -> NewJob + Send + Sync + 'static,
    ) -> Self {
        Self { queue, clock, make: Arc::new(make) }
    }
}

impl<C: Clock + Clone> Service<Verified<Delivery>> for Enqueue<C> {
    type Response = Enqueued;
    type Error = QueueError;
    type Future = Pin<Box<dyn Future<Output = Result<Enqueued, QueueError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), QueueError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Verified<Delivery>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let now = this.clock.now();
            this.queue.enqueue(now, (this.make)(now, &delivery)).await
        })
    }
}
