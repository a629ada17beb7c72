//! Opening the store and the queue.

use std::{path::Path, sync::Arc};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    http::describe,
    queue::{EmbeddedQueue, Queue, QueueConfig, RedisQueue, SpillConfig, SpillQueue},
    redis::{Gate, Redis},
    seal::SealedStore,
    store::{EmbeddedStore, GuardedStore, Store},
    time::SystemClock,
};
use serde_json::{Value, json};
use tower::BoxError;

use super::{
    config::{DurableConfig, StoreSection},
    jobs::Kinds,
    secrets,
};

/// The store, the queue, and what is behind them. Cloning shares them.
#[derive(Clone)]
pub struct Durable {
    pub store: Arc<dyn Store>,
    /// Secrets by key, sealed before they reach the store.
    pub secrets: SealedStore,
    pub queue: Arc<dyn Queue>,
    /// The same queue, if Redis is behind it.
    pub spill: Option<Arc<SpillQueue<SystemClock>>>,
    file: Embedded,
}

impl Durable {
    /// Opens the file, and checks the Redis that is configured. A Redis that is away does not keep
    /// the server from starting. One that refuses does, because somebody must change something.
    pub async fn open(config: &DurableConfig, kinds: Kinds) -> Result<Self, BoxError> {
        let file = open_file(&config.store).await?;
        let mut bounds = QueueConfig::default();
        (bounds.alert_at, bounds.refuse_at) = (config.queue.alert_at, config.queue.refuse_at);
        bounds.kinds = kinds;
        match config.redis()? {
            Some(redis) => Self::over_redis(config, file, redis, bounds).await,
            None => {
                let store: Arc<dyn Store> = Arc::new(EmbeddedStore::new(file.clone()));
                let secrets = secrets::open(&config.secrets, Arc::clone(&store)).await?;
                let queue = Arc::new(EmbeddedQueue::new(file.clone(), bounds));
                Ok(Self { store, secrets, queue, spill: None, file })
            }
        }
    }

    async fn over_redis(
        config: &DurableConfig,
        file: Embedded,
        redis: Redis,
        bounds: QueueConfig,
    ) -> Result<Self, BoxError> {
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
        let spill = Arc::new(queue);
        let queue: Arc<dyn Queue> = Arc::<SpillQueue<_>>::clone(&spill);
        Ok(Self { store, secrets, queue, spill: Some(spill), file })
    }

    /// Whether other processes may share the work.
    pub fn is_shared(&self) -> bool {
        self.spill.is_some()
    }

    /// Whether the store and the queue are ready, and their state, for `/readyz`.
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

    /// Closes the file once pending writes are done.
    pub async fn close(&self) {
        self.file.close().await;
    }
}

async fn open_file(config: &StoreSection) -> Result<Embedded, BoxError> {
    let Some(path) = config.path().map(Path::to_owned) else {
        tracing::warn!("nothing is kept: the store is in memory, as configured");
        return Ok(Embedded::in_memory(EmbeddedConfig::default())?);
    };
    let open = move || -> Result<Embedded, BoxError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            private_folder(folder).map_err(|error| {
                format!("store.path: the folder {} can't be made: {error}", folder.display())
            })?;
        }
        let file = Embedded::open(&path, EmbeddedConfig::default()).map_err(|error| -> BoxError {
            let why = describe(&error);
            format!("store.path: {why}. LIVOS_STORE or `path` under [store] names another file").into()
        })?;
        private_file(&path)
            .map_err(|error| format!("store.path: the mode of {} can't be set: {error}", path.display()))?;
        tracing::info!(path = %path.display(), "the store is open");
        Ok(file)
    };
    // Opening blocks while the file is checked.
    tokio::task::spawn_blocking(open).await?
}

/// Makes a folder that only this user can read.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Lets only this user read a file, which may be in a folder that others can read.
fn private_file(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, mode)
    }
    #[cfg(not(unix))]
    Ok(())
}
