//! The breaker in front of a server (P-20), with what must not be lost to a blink of it tried
//! again.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{Redis, RedisError};
use crate::breaker::{BreakerConfig, BreakerLayer, BreakerState, Broken};

/// A server that is left alone while it fails. Everything that speaks to it shares one, so that
/// what the queue learnt the store need not learn again.
#[derive(Debug, Clone)]
pub struct Gate {
    redis: Redis,
    breaker: BreakerLayer,
    trouble: Arc<Mutex<Option<String>>>,
}

/// An error that may be one of Redis.
pub(crate) trait OfRedis: From<RedisError> {
    /// The error of Redis, where it is one.
    fn redis(&self) -> Option<&RedisError>;
}

impl OfRedis for RedisError {
    fn redis(&self) -> Option<&RedisError> {
        Some(self)
    }
}

impl Gate {
    /// In front of this server. The breaker counts only what makes a server useless: it can't be
    /// reached, or does not answer.
    pub fn new(redis: Redis, config: BreakerConfig) -> Self {
        Self { redis, breaker: BreakerLayer::new("redis", config), trouble: Arc::default() }
    }

    /// The server behind it.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// Where the breaker stands.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What is wrong with the server, in words; none while it answers and takes what it is given.
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

    /// The same for what must not be lost to a blink of the server: three more tries, a second
    /// apart.
    ///
    /// A call that was carried out although its answer was lost is carried out again: what it does
    /// must bear that.
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
