//! Where connections are made, and known to be broken.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use redis::{
    Client,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::sync::Notify;

use super::{RedisConfig, RedisError, RedisErrorKind, pace::Pace};

/// What all connections of one server share.
pub(super) struct Door {
    pool: RedisConnectionManager,
    client: Client,
    connect_timeout: Duration,
    response_timeout: Duration,
    pace: Mutex<Pace>,
    last_error: Mutex<Option<RedisError>>,
    failed: Notify,
    pub(super) attempts: AtomicU64,
    /// Raised when a connection breaks. All older ones count as broken too: the same cause broke
    /// them, and each would fail one more caller.
    generation: AtomicU64,
    /// Warnings that were logged, and are not repeated until they are over.
    pub(super) nearly_full: AtomicBool,
    pub(super) evicting: AtomicBool,
}

/// A connection that its borrowers share: commands of many callers travel in one write, and are
/// answered in order.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) redis: MultiplexedConnection,
    generation: u64,
}

impl Door {
    pub(super) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        // The library's own error would repeat the address.
        let wrong = |_| RedisError::new(RedisErrorKind::Refused, "the address is not one of Redis");
        let seed = uuid::Uuid::new_v4().as_u64_pair().0;
        Ok(Self {
            pool: RedisConnectionManager::new(config.url.expose()).map_err(wrong)?,
            client: Client::open(config.url.expose()).map_err(wrong)?,
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            pace: Mutex::new(Pace::new(seed)),
            last_error: Mutex::default(),
            failed: Notify::new(),
            attempts: 0.into(),
            generation: 0.into(),
            nearly_full: false.into(),
            evicting: false.into(),
        })
    }

    /// Whether a connection is known to be broken.
    pub(super) fn is_dead(&self, line: &Line) -> bool {
        line.generation < self.generation.load(Ordering::SeqCst)
    }

    /// A connection broke: it and all that are as old are discarded.
    pub(super) fn bury(&self, line: &Line) {
        let (old, new) = (line.generation, line.generation + 1);
        let _ = self.generation.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Waits for the next failed attempt of any caller, and answers its reason.
    pub(super) fn failure(&self) -> impl Future<Output = RedisError> {
        let mut failed = Box::pin(self.failed.notified());
        // Counts from here on, not from the first poll.
        failed.as_mut().enable();
        async move {
            failed.await;
            self.last_error()
        }
    }

    pub(super) fn last_error(&self) -> RedisError {
        let known = lock(&self.last_error).clone();
        known.unwrap_or_else(|| RedisError::new(RedisErrorKind::Unreachable, "it was not reached yet"))
    }

    /// A connection of its own, for a listener.
    pub(super) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        self.attempt(self.client.get_async_pubsub()).await
    }

    /// One attempt to connect, unless it is too soon for one.
    async fn attempt<T>(
        &self,
        connecting: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, RedisError> {
        if lock(&self.pace).admit(Instant::now()).is_err() {
            self.failed.notify_waiters();
            return Err(self.last_error());
        }
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let connected = match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(RedisError::from),
            Err(_) => Err(RedisError::new(RedisErrorKind::Unreachable, "no connection came about in time")),
        };
        let outcome = if connected.is_ok() { "connected" } else { "failed" };
        metrics::counter!("livos_redis_connects_total", "outcome" => outcome).increment(1);
        match &connected {
            Ok(_) => lock(&self.pace).connected(),
            Err(error) => {
                lock(&self.pace).failed(Instant::now());
                *lock(&self.last_error) = Some(error.clone());
                self.failed.notify_waiters();
            }
        }
        connected
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").finish_non_exhaustive()
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The door as the pool sees it.
#[derive(Debug, Clone)]
pub(super) struct Manager(pub(super) std::sync::Arc<Door>);

impl ManageConnection for Manager {
    type Connection = Line;
    type Error = RedisError;

    async fn connect(&self) -> Result<Line, RedisError> {
        // Before connecting: a breakage meanwhile concerns this one too.
        let generation = self.0.generation.load(Ordering::SeqCst);
        let mut redis = self.0.attempt(self.0.pool.connect()).await?;
        redis.set_response_timeout(self.0.response_timeout);
        Ok(Line { redis, generation })
    }

    async fn is_valid(&self, line: &mut Line) -> Result<(), RedisError> {
        self.0.pool.is_valid(&mut line.redis).await.map_err(RedisError::from)
    }

    fn has_broken(&self, line: &mut Line) -> bool {
        self.0.is_dead(line)
    }
}
