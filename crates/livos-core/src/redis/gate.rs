//! The breaker in front of a server (P-20), and retries for calls that must survive a short outage.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Redis, RedisError};
use crate::breaker::{BreakerConfig, BreakerLayer, BreakerState, Broken};

/// A server that is left alone while it fails. All users share one gate, so that the store need not
/// find out what the queue already knows.
#[derive(Debug, Clone)]
pub struct Gate {
    redis: Redis,
    breaker: BreakerLayer,
    trouble: Arc<Mutex<Option<String>>>,
}

/// An error that may come from Redis.
pub(crate) trait OfRedis: From<RedisError> {
    /// The error of Redis, if it is one.
    fn redis(&self) -> Option<&RedisError>;
}

impl OfRedis for RedisError {
    fn redis(&self) -> Option<&RedisError> {
        Some(self)
    }
}

impl Gate {
    /// A gate in front of this server. The breaker counts only what makes a server useless: it
    /// can't be reached, or does not answer.
    pub fn new(redis: Redis, config: BreakerConfig) -> Self {
        Self { redis, breaker: BreakerLayer::new("redis", config), trouble: Arc::default() }
    }

    /// The server behind it.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The state of the breaker.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What is wrong with the server; `None` while it answers and takes what it is given.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes a call, unless the server is left alone. After a while a PING goes first, so that no
    /// call is spent on a server that is still away.
    pub(crate) async fn through<T, E: OfRedis>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let ping = async { self.redis.ping().await.map_err(E::from) };
        let outage = |error: &E| error.redis().is_some_and(RedisError::is_outage);
        match self.breaker.call_after(ping, call, outage).await {
            Ok(value) => {
                self.note(None);
                Ok(value)
            }
            Err(Broken::Open { retry_after }) => Err(RedisError::left_alone(retry_after).into()),
            Err(Broken::Service(error)) => {
                self.note(error.redis().filter(|error| error.is_temporary()).map(ToString::to_string));
                Err(error)
            }
        }
    }

    /// The same for calls that must survive a short outage: three more tries, a second apart.
    ///
    /// A call whose answer was lost is made again, so it must be idempotent.
    pub(crate) async fn critical<T, E: OfRedis, F>(&self, mut call: impl FnMut() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        const TRIES: u32 = 3;
        const BETWEEN: Duration = Duration::from_secs(1);
        for _ in 0..TRIES {
            match self.through(call()).await {
                Err(error) if error.redis().is_some_and(RedisError::is_temporary) => {
                    tokio::time::sleep(BETWEEN).await;
                }
                answered => return answered,
            }
        }
        self.through(call()).await
    }

    fn note(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}
