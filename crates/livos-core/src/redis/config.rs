//! Which server, and how long to wait for it.

use std::time::Duration;

use crate::secret::Secret;

/// Which server, and how long to wait for it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RedisConfig {
    /// `redis://[user][:password@]host[:port][/database]`, or `unix:///path`. Secret, because a
    /// password may be in it.
    pub url: Secret,
    /// Connections for commands at most. 4: callers share them, so one is enough for most, and a
    /// large answer should not hold up everybody.
    pub connections: u32,
    /// How long connecting may take. 1 s: a server on the same machine or in the same network.
    pub connect_timeout: Duration,
    /// How long an answer may take. 1 s: a server that is slower is as good as gone, and the
    /// breaker should know.
    pub response_timeout: Duration,
}

impl RedisConfig {
    /// This server, with the default time limits.
    pub fn new(url: Secret) -> Self {
        Self {
            url,
            connections: 4,
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }

    /// At most this many connections for commands; at least one.
    #[must_use]
    pub fn with_connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Connecting may take this long.
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// An answer may take this long.
    #[must_use]
    pub fn with_response_timeout(mut self, timeout: Duration) -> Self {
        self.response_timeout = timeout;
        self
    }
}
