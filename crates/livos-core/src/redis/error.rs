//! What can go wrong with a server, without the address, which may hold a password.

use std::{fmt, time::Duration};

/// Why Redis could not do it.
#[derive(Debug, Clone)]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// It can't be reached, or did not answer in time: later, perhaps. Whether the command was
    /// carried out is not known.
    Unreachable,
    /// It was not asked: it fails, and is left alone for a while.
    LeftAlone,
    /// It has no memory for this: nothing was written.
    Full,
    /// The address, the user or the password is wrong, or the server is too old: somebody must
    /// change something.
    Refused,
    /// It answered what it should not have.
    Broken,
}

impl RedisError {
    pub(super) fn new(kind: RedisErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// The breaker is open.
    pub(super) fn left_alone(retry_after: Duration) -> Self {
        let message = format!("it fails, and is asked again in {} s", retry_after.as_secs_f32().ceil());
        Self { retry_after: Some(retry_after), ..Self::new(RedisErrorKind::LeftAlone, message) }
    }

    /// An answer that makes no sense.
    pub(crate) fn broken(what: &str) -> Self {
        Self::new(RedisErrorKind::Broken, what)
    }

    /// What to do about it.
    pub fn kind(&self) -> RedisErrorKind {
        self.kind
    }

    /// Whether the same may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, RedisErrorKind::Unreachable | RedisErrorKind::LeftAlone | RedisErrorKind::Full)
    }

    /// Whether the server is of no use to anybody now. One that is full still gives out what it
    /// has.
    pub fn is_outage(&self) -> bool {
        matches!(self.kind, RedisErrorKind::Unreachable | RedisErrorKind::LeftAlone)
    }

    /// When it may be worth while to ask again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RedisErrorKind::Unreachable => "redis can't be reached",
            RedisErrorKind::LeftAlone => "redis is left alone",
            RedisErrorKind::Full => "redis is out of memory",
            RedisErrorKind::Refused => "redis refuses",
            RedisErrorKind::Broken => "redis answered what it should not",
        };
        write!(f, "{what}: {}", self.message)
    }
}

impl std::error::Error for RedisError {}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        use redis::{ErrorKind, ServerErrorKind};
        let code = error.code().unwrap_or_default();
        let kind = match error.kind() {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => RedisErrorKind::Refused,
            _ if matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM") => RedisErrorKind::Refused,
            _ if code == "OOM" => RedisErrorKind::Full,
            ErrorKind::Io => RedisErrorKind::Unreachable,
            ErrorKind::Server(
                ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown,
            ) => RedisErrorKind::Unreachable,
            // A server that can't write its file takes no writes, and may again.
            _ if matches!(code, "MISCONF" | "READONLY" | "LOADING" | "BUSY") => RedisErrorKind::Unreachable,
            _ if error.is_io_error() || error.is_timeout() => RedisErrorKind::Unreachable,
            // A script's own error repeats that of the command in it.
            _ if error.to_string().contains("OOM command not allowed") => RedisErrorKind::Full,
            _ => RedisErrorKind::Broken,
        };
        Self::new(kind, error.to_string())
    }
}
