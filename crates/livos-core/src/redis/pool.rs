//! The commands that are sent to a server, over connections that their callers share.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use redis::{FromRedisValue, aio::PubSub};

use super::{
    RedisConfig, RedisError, RedisErrorKind,
    door::{Door, Line, Manager},
};

/// A server. Cloning shares its connections.
#[derive(Clone)]
pub struct Redis {
    pool: bb8::Pool<Manager>,
    pub(super) door: Arc<Door>,
    config: Arc<RedisConfig>,
}

impl Redis {
    /// Connects when it is first used; only the address is checked. Must be called inside a tokio
    /// runtime.
    pub fn new(config: RedisConfig) -> Result<Self, RedisError> {
        let door = Arc::new(Door::new(&config)?);
        let pool = bb8::Pool::builder()
            .max_size(config.connections.max(1))
            .connection_timeout(config.connect_timeout)
            // Dead connections are known to the door, and a ping before each command would cost as
            // much as the command.
            .test_on_check_out(false)
            .retry_connection(false)
            // The one that was used last: what travels together is written to the disk together.
            .queue_strategy(bb8::QueueStrategy::Lifo)
            .build_unchecked(Manager(Arc::clone(&door)));
        Ok(Self { pool, door, config: Arc::new(config) })
    }

    /// Connection attempts so far, to check that an unreachable server is not hammered.
    pub fn attempts(&self) -> u64 {
        self.door.attempts.load(Ordering::Relaxed)
    }

    /// The cheapest question: does it answer?
    pub async fn ping(&self) -> Result<(), RedisError> {
        let _: String = self.query(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// One command. Not one that blocks.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisError> {
        let mut line = self.line().await?;
        let answer = command.query_async(&mut line.redis).await;
        self.judge(&line, answer)
    }

    /// Runs a script by its digest, or by its text if the server does not know it yet.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        invocation: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut line = self.line().await?;
        let answer = invocation.invoke_async(&mut line.redis).await;
        self.judge(&line, answer)
    }

    /// A connection outside the pool, for listening to channels. It waits for messages forever, and
    /// ends when it breaks.
    pub(crate) async fn subscriber(&self) -> Result<PubSub, RedisError> {
        self.door.subscriber().await
    }

    /// Waits for an answer on a connection outside the pool, as long as the pool would.
    pub(crate) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.config.response_timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(self.lost("no answer in time")),
        }
    }

    /// The error of a connection outside the pool that is gone.
    pub(crate) fn lost(&self, why: &str) -> RedisError {
        RedisError::new(RedisErrorKind::Unreachable, why)
    }

    /// A connection that is not known to be broken. It goes back to the pool at once: others may
    /// send through it meanwhile.
    async fn line(&self) -> Result<Line, RedisError> {
        // Each broken one that comes back makes room for another.
        for _ in 0..=self.config.connections {
            let failure = self.door.failure();
            let pooled = tokio::select! {
                biased;
                pooled = self.pool.get() => pooled,
                // The pool itself would let its caller wait for the whole time limit.
                error = failure => return Err(error),
            };
            let pooled = pooled.map_err(|error| match error {
                bb8::RunError::User(error) => error,
                bb8::RunError::TimedOut => {
                    RedisError::new(RedisErrorKind::Unreachable, "no connection came free in time")
                }
            })?;
            if !self.door.is_dead(&pooled) {
                return Ok(pooled.clone());
            }
        }
        Err(self.door.last_error())
    }

    fn judge<T>(&self, line: &Line, answer: Result<T, redis::RedisError>) -> Result<T, RedisError> {
        answer.map_err(|error| {
            if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
                self.door.bury(line);
            }
            error.into()
        })
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("config", &self.config).finish_non_exhaustive()
    }
}
