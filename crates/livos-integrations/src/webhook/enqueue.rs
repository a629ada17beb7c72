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
    time::Clock,
};
use tower_service::Service;

use super::{Delivery, Verified};

/// Enqueues verified deliveries as jobs of one kind, whose payload is a [`super::Received`].
///
/// Two endpoints with kinds of their own do not dedupe each other's deliveries. The queue logs and
/// counts when it fills, and refuses when it is full.
#[derive(Clone)]
pub struct Enqueue<C> {
    queue: Arc<dyn Queue>,
    kind: JobKind,
    clock: C,
    retention: Duration,
}

impl<C> fmt::Debug for Enqueue<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enqueue").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl<C> Enqueue<C> {
    /// Into this queue; each delivery is remembered for `retention`, see
    /// [`super::Verifier::retention`].
    pub fn new(queue: Arc<dyn Queue>, kind: JobKind, clock: C, retention: Duration) -> Self {
        Self { queue, kind, clock, retention }
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
            let payload = delivery.received(now).to_payload();
            let job = NewJob::new(this.kind, payload).deduped_by(delivery.key(), this.retention);
            this.queue.enqueue(now, job).await
        })
    }
}
