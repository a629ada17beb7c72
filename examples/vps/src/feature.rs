//! The seam between the server and its features.
//!
//! A feature is a folder with one value that implements [`Feature`]. It reads its sections of the
//! configuration when it is made, declares its job kinds and key families before the store is
//! opened, and adds its routes, jobs and tasks afterwards. Features know nothing of each other's
//! order: everything they need is in [`Services`]. `server` holds the list of them.

use std::time::Duration;

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    drain::DrainSignal,
    supervise::{Load, Supervisor},
};
use metrics_exporter_prometheus::PrometheusHandle;
use tower::BoxError;

use crate::{
    accounts::Accounts,
    durable::{Durable, Families, Jobs, Kinds},
    http::Routes,
    providers::Providers,
};

/// One feature of the deployment, configured and not yet open.
pub trait Feature: Send {
    /// The kinds of its jobs.
    fn kinds(&self) -> Kinds {
        Kinds::new()
    }

    /// The families of its keys in the store, whether or not it is switched on: keys from before a
    /// change of the configuration belong to it too.
    fn families(&self) -> Families {
        Families::default()
    }

    /// Opens it. Nothing may run yet except through the tasks that it returns.
    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>>;
}

/// What every feature can use. It is shared while features are opened; each feature keeps clones of
/// what it needs.
pub struct Services {
    /// This server's address as browsers see it, without a slash at its end.
    pub base: String,
    /// How long the drain may take.
    pub drain_timeout: Duration,
    /// The store and the queue.
    pub durable: Durable,
    /// What was used and may be used.
    pub accounts: Accounts,
    /// The agent, and the services that hear and speak.
    pub providers: Providers,
    /// Runs tasks that begin later than the server.
    pub supervisor: Supervisor,
    /// Counts what is being worked on.
    pub load: Load,
    /// Tells when to stop.
    pub drain: DrainSignal,
    pub metrics: PrometheusHandle,
}

/// What an open feature adds to the server.
#[derive(Default)]
pub struct Parts {
    pub routes: Routes,
    /// The handlers of its jobs, and the jobs that repeat.
    pub jobs: Jobs,
    /// What runs all the time, independent of requests.
    pub tasks: Vec<Task>,
}

impl Parts {
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.tasks.extend(other.tasks);
        let (routes, jobs) = (self.routes.merge(other.routes), self.jobs.merge(other.jobs));
        Self { routes, jobs, tasks: self.tasks }
    }
}

/// A task of the supervisor.
pub struct Task {
    name: &'static str,
    run: Run,
}

enum Run {
    Once(BoxFuture<'static, ()>),
    UntilDrain(Box<dyn FnMut() -> BoxFuture<'static, ()> + Send>),
}

impl Task {
    /// A task that may end by itself.
    pub fn once(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { name, run: Run::Once(task.boxed()) }
    }

    /// A task that is made again if it ends or panics before the drain.
    pub fn until_drain<F, T>(name: &'static str, mut make: F) -> Self
    where
        F: FnMut() -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        Self { name, run: Run::UntilDrain(Box::new(move || make().boxed())) }
    }

    /// Hands it to the supervisor.
    pub fn spawn(self, supervisor: &Supervisor, drain: &DrainSignal) {
        match self.run {
            Run::Once(task) => supervisor.spawn(self.name, task),
            Run::UntilDrain(make) => supervisor.spawn_restarting(self.name, drain.clone(), make),
        }
    }
}
