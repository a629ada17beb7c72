//! Errors of a server, without its address, which may hold a password.

use std::{fmt, time::Duration};

/// Why a call of Redis failed.
#[derive(Debug, Clone)]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// It can't be reached or did not answer in time, and may later. Whether the command was
    /// carried out is unknown.
    Unreachable,
    /// It was not asked, because it failed before and is left alone for a while.
    LeftAlone,
    /// It has no memory left: nothing was written.
    Full,
    /// The address, the user or the password is wrong, or the server is too old: somebody must
    /// change the configuration.
    Refused,
    /// It gave an answer that the protocol does not allow here.
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

    /// An answer that can't be read.
    pub(crate) fn broken(what: &str) -> Self {
        Self::new(RedisErrorKind::Broken, what)
    }

    /// What to do about it.
    pub fn kind(&self) -> RedisErrorKind {
        self.kind
    }

    /// Whether the same call may succeed later although nothing is changed.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, RedisErrorKind::Unreachable | RedisErrorKind::LeftAlone | RedisErrorKind::Full)
    }

    /// Whether the server is of no use to any caller now. A full server can still be read.
    pub fn is_outage(&self) -> bool {
        matches!(self.kind, RedisErrorKind::Unreachable | RedisErrorKind::LeftAlone)
    }

    /// When it may be worth asking again, if that is known.
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
            // A server that can't write its file takes no writes until it can.
            _ if matches!(code, "MISCONF" | "READONLY" | "LOADING" | "BUSY") => RedisErrorKind::Unreachable,
            _ if error.is_io_error() || error.is_timeout() => RedisErrorKind::Unreachable,
            // A script's own error repeats that of the command in it.
            _ if error.to_string().contains("OOM command not allowed") => RedisErrorKind::Full,
            _ => RedisErrorKind::Broken,
        };
        Self::new(kind, error.to_string())
    }
}
