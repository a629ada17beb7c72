//! What outlives the process: the store and the queue, in one embedded file, or in a Redis that
//! several processes share.
//!
//! Everything that wants something kept or done later builds upon the two traits in [`Durable`],
//! and adds its kinds of jobs to [`Jobs`]. With a Redis the file holds what could not be enqueued
//! there while it was away.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    drain::DrainSignal,
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        self, Cadence, EmbeddedQueue, Job, JobKind, KindPolicy, Outcome, Queue, QueueConfig, RedisQueue,
        Repeat, SpillConfig, SpillQueue, Worker, WorkerConfig,
    },
    redis::{Gate, Redis, RedisConfig},
    seal::SealedStore,
    store::{self, EmbeddedStore, Family, GuardedStore, Store},
    supervise::{Load, Supervisor},
    time::{Clock, SystemClock},
};
use livos_integrations::{gmail, oauth, pairing, sender};
use serde_json::{Value, json};
use tower::{BoxError, util::BoxCloneSyncService};
use tower_service::Service;

use crate::{
    channels,
    config::{self, Config},
    ops, secrets,
};

/// How often depths are read for the metrics, and repeated jobs are tried again that could not be
/// defined.
const WATCH: Duration = Duration::from_secs(5);

/// Frees what expired, and reports keys that nothing will ever remove.
const JANITOR: JobKind = JobKind::from_static("janitor");
/// Twice at one time would be twice the reading for nothing.
const JANITOR_POLICY: KindPolicy = KindPolicy::DEFAULT.with_concurrency(1);
const JANITOR_EVERY: Duration = Duration::from_secs(3600);

/// The families of keys that the deployment uses beside those of the core.
const FAMILIES: &[&[Family]] = &[
    &[oauth::GRANTS, oauth::PENDING],
    &gmail::FAMILIES,
    &pairing::FAMILIES,
    &[crate::pairing::KEY, channels::TOLD],
    &sender::FAMILIES,
];

/// The store, the queue, and what is behind them.
pub struct Durable {
    /// Values by key.
    pub store: Arc<dyn Store>,
    /// Secrets by key, sealed before they reach the store.
    pub secrets: SealedStore,
    /// Jobs.
    pub queue: Arc<dyn Queue>,
    file: Embedded,
    /// The same queue, where Redis is behind it.
    spill: Option<Arc<SpillQueue<SystemClock>>>,
}

impl Durable {
    /// Opens the file, and asks the Redis that is configured whether it will do. A Redis that is
    /// away does not keep the server from starting; one that refuses does, because somebody must
    /// change something. `kinds` are those of the features that add jobs, with what each may do.
    pub async fn open(config: &Config, mut kinds: BTreeMap<JobKind, KindPolicy>) -> Result<Self, BoxError> {
        kinds.insert(JANITOR, JANITOR_POLICY);
        let file = open_file(&config.store).await?;
        let mut bounds = QueueConfig::default();
        (bounds.alert_at, bounds.refuse_at) = (config.queue.alert_at, config.queue.refuse_at);
        bounds.kinds = kinds;
        let Some(url) = &config.redis.url else {
            let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(file.clone()));
            let secrets = secrets::open(&config.secrets, Arc::clone(&store)).await?;
            let queue = Arc::new(EmbeddedQueue::new(file.clone(), bounds));
            return Ok(Self { store, secrets, queue, file, spill: None });
        };
        let redis = Redis::new(RedisConfig::new(url.clone()))?;
        match redis.check().await {
            Err(error) if error.is_temporary() => {
                tracing::error!(%error, "starting without Redis; jobs go into the file until it is there");
            }
            checked => drop(checked?),
        }
        let gate = Gate::new(redis.clone(), config.redis.breaker());
        let store: Arc<dyn Store> = Arc::new(GuardedStore::new(gate.clone()));
        let secrets = secrets::open(&config.secrets, Arc::clone(&store)).await?;
        let queue = RedisQueue::new(redis, &config.queue.name, bounds)?;
        let queue = SpillQueue::new(queue, gate, file.clone(), SystemClock, SpillConfig::default()).await?;
        let queue = Arc::new(queue);
        Ok(Self { store, secrets, queue: Arc::<SpillQueue<_>>::clone(&queue), file, spill: Some(queue) })
    }

    /// Runs the worker and what keeps the queue in order, until the drain.
    pub fn start(
        self: Arc<Self>,
        jobs: Jobs,
        config: &Config,
        supervisor: &Supervisor,
        load: &Load,
        drain: &DrainSignal,
    ) {
        if let Some(spill) = &self.spill {
            let (spill, signal) = (Arc::clone(spill), drain.clone());
            supervisor.spawn_restarting("spilled jobs", drain.clone(), move || {
                let (spill, signal) = (Arc::clone(&spill), signal.clone());
                async move { spill.run(signal).await }
            });
        }
        let (store, secrets) = (Arc::clone(&self.store), self.secrets.clone());
        let sweeper = tower::service_fn(move |_| sweep(Arc::clone(&store), secrets.clone()));
        let jobs = jobs.on(JANITOR, sweeper).repeat(Repeat::new(
            "janitor",
            JANITOR,
            "",
            Cadence::Every(JANITOR_EVERY),
        ));
        let mut working = WorkerConfig::default();
        working.kinds = jobs.handlers.keys().cloned().collect();
        working.concurrency = config.queue.concurrency;
        // Time to give back what does not finish must be left of the time that a drain may take.
        working.drain_patience = config.server.drain_timeout / 2;
        let (queue, router, signal) =
            (Arc::clone(&self.queue), Router(Arc::new(jobs.handlers)), drain.clone());
        let (pulse, load) = (supervisor.pulse("jobs", ops::PATIENCE), load.clone());
        supervisor.spawn_restarting("jobs", drain.clone(), move || {
            let worker = Worker::new(Arc::clone(&queue), router.clone(), SystemClock, working.clone());
            pulse.clone().beating(worker.with_load(load.clone()).run(signal.clone()))
        });
        let (queue, signal) = (Arc::clone(&self.queue), drain.clone());
        supervisor.spawn_restarting("depth of the queue", drain.clone(), move || {
            queue::observe(Arc::clone(&queue), WATCH, signal.clone())
        });
        let (signal, repeats) = (drain.clone(), jobs.repeats);
        supervisor.spawn_restarting("repeated jobs", drain.clone(), move || {
            Arc::clone(&self).watch(repeats.clone(), signal.clone())
        });
    }

    /// Defines the repeated jobs as soon as that is possible, and counts spilled ones for the
    /// metrics.
    async fn watch(self: Arc<Self>, mut repeats: Vec<Repeat>, drain: DrainSignal) {
        loop {
            while let Some(repeat) = repeats.last() {
                if let Err(error) = self.queue.repeat(SystemClock.now(), repeat.clone()).await {
                    tracing::warn!(%error, name = repeat.name, "a repeated job could not be defined yet");
                    break;
                }
                repeats.pop();
            }
            if let Some(spill) = &self.spill {
                metrics::gauge!("livos_queue_spilled").set(spill.health().spilled as f64);
            }
            tokio::select! {
                () = tokio::time::sleep(WATCH) => {}
                () = drain.draining() => return,
            }
        }
    }

    /// Whether all is well, and how it stands, for `/readyz`.
    pub fn report(&self) -> (bool, Value) {
        let Some(health) = self.spill.as_ref().map(|spill| spill.health()) else {
            return (true, json!({ "state": "ready", "backend": "embedded" }));
        };
        let state = if health.ready { "ready" } else { "degraded" };
        let report = json!({
            "state": state,
            "backend": "redis",
            "spilled": health.spilled,
            "emptied": health.emptied,
            "reason": health.reason,
        });
        (health.ready, report)
    }

    /// Closes the file, after whatever was being written.
    pub async fn close(&self) {
        self.file.close().await;
    }
}

async fn open_file(config: &config::Store) -> Result<Embedded, BoxError> {
    let path = config.path.as_deref().unwrap_or_else(|| Path::new(config::Store::MEMORY));
    if path == Path::new(config::Store::MEMORY) {
        tracing::warn!("nothing is kept: the store is in memory, as configured");
        return Ok(Embedded::in_memory(EmbeddedConfig::default())?);
    }
    let path = path.to_owned();
    let open = move || -> Result<Embedded, BoxError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            private_folder(folder).map_err(|error| {
                format!("store.path: the folder {} can't be made: {error}", folder.display())
            })?;
        }
        let file = Embedded::open(&path, EmbeddedConfig::default()).map_err(|error| -> BoxError {
            let cause =
                std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("store.path: {error}{cause}. LIVOS_STORE or `path` under [store] names another file")
                .into()
        })?;
        tracing::info!(path = %path.display(), "the store is open");
        Ok(file)
    };
    // It blocks while the file is checked.
    tokio::task::spawn_blocking(open).await?
}

/// What is kept is nobody else's to read.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

async fn sweep(store: Arc<dyn Store>, secrets: SealedStore) -> Result<Outcome, BoxError> {
    let families = [livos_core::families(), FAMILIES.concat()].concat();
    let report = store::sweep(&*store, SystemClock.now(), &families).await?;
    tracing::info!(
        keys = report.keys,
        freed = report.freed,
        immortal = report.immortal_total,
        "swept the store"
    );
    secrets::reseal(&secrets).await?;
    Ok(Outcome::Done)
}

/// Works on jobs of one kind. An error fails the attempt, as [`Outcome::Retry`] does.
pub type Handler = BoxCloneSyncService<Job, Outcome, BoxError>;

/// What works on the jobs of each kind, and which jobs repeat.
#[derive(Default)]
pub struct Jobs {
    handlers: BTreeMap<JobKind, Handler>,
    repeats: Vec<Repeat>,
}

impl Jobs {
    /// Jobs of `kind` go to `handler`, as many and as fast as the policy allows with which
    /// [`Durable::open`] was told of the kind.
    #[must_use]
    pub fn on<S>(mut self, kind: JobKind, handler: S) -> Self
    where
        S: Service<Job, Response = Outcome, Error = BoxError> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        self.handlers.insert(kind, BoxCloneSyncService::new(handler));
        self
    }

    /// A job that comes again and again, whatever happens to the process.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeats.push(repeat);
        self
    }
}

/// Gives a lease to the handler of its kind.
#[derive(Clone)]
struct Router(Arc<BTreeMap<JobKind, Handler>>);

impl Service<Job> for Router {
    type Response = Outcome;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Outcome, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, lease: Job) -> Self::Future {
        match self.0.get(&lease.kind) {
            Some(handler) => tower::ServiceExt::oneshot(handler.clone(), lease).boxed(),
            None => {
                let reason = format!("nothing here works on {}", lease.kind);
                std::future::ready(Ok(Outcome::Dead { reason })).boxed()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use livos_core::{drain::Drain, queue::NewJob};
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn jobs_go_to_the_handler_of_their_kind_and_a_drain_ends_everything() {
        const KIND: JobKind = JobKind::from_static("greeting");
        let config = config::resolve(None, |name| (name == "LIVOS_STORE").then(|| ":memory:".to_owned()));
        let config = config.unwrap();
        let (done, mut greeted) = mpsc::unbounded_channel();
        let handler = tower::service_fn(move |lease: Job| {
            let told = done.send(lease.payload);
            async move { told.map(|()| Outcome::Done).map_err(BoxError::from) }
        });
        let jobs = Jobs::default().on(KIND, handler);
        let durable = Arc::new(Durable::open(&config, [(KIND, KindPolicy::DEFAULT)].into()).await.unwrap());
        let (supervisor, (drain, signal)) = (Supervisor::new(), Drain::new());
        Arc::clone(&durable).start(jobs, &config, &supervisor, &Load::new(), &signal);
        for kind in [KIND, JANITOR] {
            durable.queue.enqueue(SystemClock.now(), NewJob::new(kind, "hello")).await.unwrap();
        }
        assert_eq!(greeted.recv().await.unwrap(), "hello");
        while durable.queue.depth().await.unwrap().total() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(durable.queue.dead(None, 10).await.unwrap(), [], "the janitor works too");
        let repeats = durable.queue.repeats().await.unwrap();
        assert_eq!(repeats.iter().map(|(repeat, _)| repeat.name.as_str()).collect::<Vec<_>>(), ["janitor"]);
        drain.begin();
        assert_eq!(supervisor.shut_down(Duration::from_secs(20)).await, Vec::<&str>::new());
        durable.close().await;
        assert!(durable.queue.depth().await.is_err(), "closed");
    }
}
