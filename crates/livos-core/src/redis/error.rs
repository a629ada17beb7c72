//! What can go wrong with a server, without the address, which may hold a password.

use std::fmt;

/// Why Redis could not do it.
#[derive(Debug, Clone)]
pub struct RedisError {
    kind: RedisErrorKind,
    message: String,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedisErrorKind {
    /// It can't be reached, or did not answer in time: later, perhaps. Whether the command was carried out is not known.
    Unreachable,
    /// It has no memory for this: nothing was written.
    Full,
    /// The address, the user or the password is wrong, or the server is too old: somebody must change something.
    Refused,
    /// It answered what it should not have.
    Broken,
}

impl RedisError {
    pub(super) fn new(kind: RedisErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
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
        matches!(self.kind, RedisErrorKind::Unreachable | RedisErrorKind::Full)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RedisErrorKind::Unreachable => "redis can't be reached",
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

impl From<bb8::RunError<redis::RedisError>> for RedisError {
    fn from(error: bb8::RunError<redis::RedisError>) -> Self {
        match error {
            bb8::RunError::User(error) => error.into(),
            bb8::RunError::TimedOut => {
                Self::new(RedisErrorKind::Unreachable, "no connection came free in time")
            }
        }
    }
}
