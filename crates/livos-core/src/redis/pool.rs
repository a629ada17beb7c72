//! The pool, and what is asked of a server before it is trusted with anything.

use std::{fmt, sync::Arc, time::Duration};

use bb8::ManageConnection;
use bb8_redis::RedisConnectionManager;
use redis::{FromRedisValue, aio::MultiplexedConnection};

use super::{RedisError, RedisErrorKind};
use crate::secret::Secret;

/// Which server, and how patiently.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://[user][:password@]host[:port][/database]`, or `unix:///path`. Secret, because a password may be in it.
    pub url: Secret,
    /// Connections at most. 8: a connection carries some ten thousand commands a second.
    pub connections: u32,
    /// How long connecting, and waiting for a free connection, may take. 1 s: a server on the same machine or in the same network.
    pub connect_timeout: Duration,
    /// How long an answer may take. 1 s: a server that is slower is as good as gone, and the breaker should know.
    pub response_timeout: Duration,
}

impl RedisConfig {
    /// This server, with the default patience.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            connections: 8,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

/// A server. Cloning shares its pool.
#[derive(Clone)]
pub struct Redis {
    pool: bb8::Pool<Manager>,
    config: Arc<RedisConfig>,
}

/// How a server's memory stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use.
    pub used: u64,
    /// Bytes allowed; none for as many as the machine has.
    pub most: Option<u64>,
    /// What it does when it is full, as in `noeviction`.
    pub policy: String,
}

impl Memory {
    /// How full it is, where there is a bound.
    pub fn share(&self) -> Option<f64> {
        self.most.map(|most| self.used as f64 / most.max(1) as f64)
    }
}

/// The oldest server whose scripts and commands are known to do.
const OLDEST: (u32, u32) = (6, 2);
/// From here on a server is nearly full.
const NEARLY_FULL: f64 = 0.8;

impl Redis {
    /// A pool for this server, which connects when it is first used. Only the address is checked. Must be called inside a tokio runtime.
    pub fn new(config: RedisConfig) -> Result<Self, RedisError> {
        // The library's own error would repeat the address.
        let wrong = |_| RedisError::new(RedisErrorKind::Refused, "the address is not one of Redis");
        let manager = RedisConnectionManager::new(config.url.expose()).map_err(wrong)?;
        let manager = Manager { inner: manager, response_timeout: config.response_timeout };
        let pool = bb8::Pool::builder()
            .max_size(config.connections.max(1))
            .connection_timeout(config.connect_timeout)
            // Failed connections mark themselves, and a ping before each command would cost as much as the command.
            .test_on_check_out(false)
            .retry_connection(false)
            .build_unchecked(manager);
        Ok(Self { pool, config: Arc::new(config) })
    }

    /// Asks whether the server can be trusted with jobs: it answers, is not too old, and throws nothing away. What is only unwise is logged.
    pub async fn check(&self) -> Result<Memory, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("server")).await?;
        let version = field(&info, "redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        let known = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if known < OLDEST {
            let message =
                format!("it is version {version}, and {}.{} is the oldest that will do", OLDEST.0, OLDEST.1);
            return Err(RedisError::new(RedisErrorKind::Refused, message));
        }
        let memory = self.memory().await?;
        if memory.most.is_some() && memory.policy != "noeviction" {
            tracing::warn!(
                policy = memory.policy,
                "this Redis throws keys away when it is full, and jobs would be among them: set maxmemory-policy to noeviction"
            );
        }
        let info: String = self.query(redis::cmd("INFO").arg("persistence")).await?;
        if field(&info, "aof_enabled") != Some("1") {
            tracing::warn!(
                "this Redis keeps no append-only file: what it acknowledged is lost when it is killed"
            );
        }
        Ok(memory)
    }

    /// How its memory stands; a warning is logged from 80 % on.
    pub async fn memory(&self) -> Result<Memory, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("memory")).await?;
        let number = |name| field(&info, name).and_then(|value| value.parse::<u64>().ok());
        let memory = Memory {
            used: number("used_memory").unwrap_or(0),
            most: number("maxmemory").filter(|most| *most > 0),
            policy: field(&info, "maxmemory_policy").unwrap_or_default().to_owned(),
        };
        metrics::gauge!("livos_redis_used_bytes").set(memory.used as f64);
        if let Some(share) = memory.share() {
            metrics::gauge!("livos_redis_memory_share").set(share);
            if share >= NEARLY_FULL {
                tracing::warn!(used = memory.used, most = memory.most, "Redis is nearly full");
            }
        }
        Ok(memory)
    }

    /// The cheapest question: does it answer?
    pub async fn ping(&self) -> Result<(), RedisError> {
        let _: String = self.query(&redis::cmd("PING")).await?;
        Ok(())
    }

    /// A connection of its own, outside the pool, for listening to channels.
    pub(crate) async fn subscriber(&self) -> Result<redis::aio::PubSub, RedisError> {
        let wrong = |_| RedisError::new(RedisErrorKind::Refused, "the address is not one of Redis");
        let client = redis::Client::open(self.config.url.expose()).map_err(wrong)?;
        match tokio::time::timeout(self.config.connect_timeout, client.get_async_pubsub()).await {
            Ok(connection) => Ok(connection?),
            Err(_) => Err(self.lost("no connection in time")),
        }
    }

    /// Waits for an answer on a connection outside the pool, for as long as the pool would.
    pub(crate) async fn within<T>(
        &self,
        answer: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.config.response_timeout, answer).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(self.lost("no answer in time")),
        }
    }

    /// A connection outside the pool that is gone.
    pub(crate) fn lost(&self, why: &str) -> RedisError {
        RedisError::new(RedisErrorKind::Unreachable, why)
    }

    /// One command through the pool. Not one that blocks.
    pub(crate) async fn query<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisError> {
        let mut connection = self.pool.get().await?;
        let answer = command.query_async(&mut connection.inner).await;
        connection.judge(answer)
    }

    /// One script through the pool, by its digest, and with its text where the server does not know it yet.
    pub(crate) async fn run<T: FromRedisValue>(
        &self,
        invocation: &redis::ScriptInvocation<'_>,
    ) -> Result<T, RedisError> {
        let mut connection = self.pool.get().await?;
        let answer = invocation.invoke_async(&mut connection.inner).await;
        connection.judge(answer)
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A field of the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

/// Connects as `bb8-redis` does, and remembers which connections failed.
#[derive(Debug)]
struct Manager {
    inner: RedisConnectionManager,
    response_timeout: Duration,
}

struct Connection {
    inner: MultiplexedConnection,
    failed: bool,
}

impl Connection {
    /// After anything but an answer of the server nobody knows what will come through this connection next.
    fn judge<T>(&mut self, answer: Result<T, redis::RedisError>) -> Result<T, RedisError> {
        answer.map_err(|error| {
            let error = RedisError::from(error);
            self.failed |= !matches!(error.kind(), RedisErrorKind::Full);
            error
        })
    }
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = redis::RedisError;

    async fn connect(&self) -> Result<Connection, redis::RedisError> {
        let mut inner = self.inner.connect().await?;
        inner.set_response_timeout(self.response_timeout);
        Ok(Connection { inner, failed: false })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), redis::RedisError> {
        self.inner.is_valid(&mut connection.inner).await
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.failed
    }
}
