//! What works on the jobs of each kind.

use std::{
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::queue::{Job, JobKind, KindPolicy, Outcome, Repeat};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};
use tower_service::Service;

/// Job kinds, each with its policy.
pub type Kinds = BTreeMap<JobKind, KindPolicy>;

/// Works on jobs of one kind. An error fails the attempt, as [`Outcome::Retry`] does.
pub type Handler = BoxCloneSyncService<Job, Outcome, BoxError>;

/// The handler of each job kind, and the jobs that repeat.
#[derive(Default)]
pub struct Jobs {
    handlers: BTreeMap<JobKind, Handler>,
    repeats: Vec<Repeat>,
}

impl Jobs {
    /// Sends jobs of `kind` to `handler`, within the policy that the kind was declared with.
    #[must_use]
    pub fn on<S>(mut self, kind: JobKind, handler: S) -> Self
    where
        S: Service<Job, Response = Outcome, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.handlers.insert(kind, BoxCloneSyncService::new(handler));
        self
    }

    /// Adds a job that repeats, across restarts too.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeats.push(repeat);
        self
    }

    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.handlers.extend(other.handlers);
        self.repeats.extend(other.repeats);
        self
    }

    /// The kinds that have a handler.
    pub fn kinds(&self) -> impl Iterator<Item = &JobKind> {
        self.handlers.keys()
    }

    /// The service that hands each lease to its handler, and the jobs that repeat.
    pub fn into_parts(self) -> (Dispatcher, Vec<Repeat>) {
        (Dispatcher(Arc::new(self.handlers)), self.repeats)
    }
}

/// Hands a lease to the handler of its kind.
#[derive(Clone)]
pub struct Dispatcher(Arc<BTreeMap<JobKind, Handler>>);

impl Service<Job> for Dispatcher {
    type Response = Outcome;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Outcome, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, lease: Job) -> Self::Future {
        match self.0.get(&lease.kind) {
            Some(handler) => handler.clone().oneshot(lease).boxed(),
            None => {
                let reason = format!("nothing here works on {}", lease.kind);
                std::future::ready(Ok(Outcome::Dead { reason })).boxed()
            }
        }
    }
}
