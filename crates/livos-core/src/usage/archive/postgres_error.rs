//! Why PostgreSQL did not do it.

use std::fmt;

use tokio_postgres::error::SqlState;

/// Why PostgreSQL could not do it, without the address, which may hold a password.
#[derive(Debug, Clone)]
pub struct PostgresError {
    kind: Kind,
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can't be reached, or did not answer in time.
    Unreachable,
    /// The address, the user, the password or the user's rights are wrong.
    Refused,
    /// It answered what it should not have.
    Broken,
}

impl PostgresError {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(super) fn late() -> Self {
        Self::new(Kind::Unreachable, "it did not answer in time")
    }

    /// Whether the same may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        self.kind == Kind::Unreachable
    }
}

impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            // Without the server's word it is the connection, or its password, whose absence is
            // ours.
            let kind = if error.is_closed()
                || std::error::Error::source(&error)
                    .is_some_and(<dyn std::error::Error>::is::<std::io::Error>)
            {
                Kind::Unreachable
            } else {
                Kind::Refused
            };
            return Self::new(kind, error.to_string());
        };
        let passing = [
            &SqlState::ADMIN_SHUTDOWN,
            &SqlState::CRASH_SHUTDOWN,
            &SqlState::CANNOT_CONNECT_NOW,
            &SqlState::TOO_MANY_CONNECTIONS,
            &SqlState::T_R_DEADLOCK_DETECTED,
            &SqlState::DISK_FULL,
        ];
        let kind = match told.code() {
            code if passing.contains(&code) => Kind::Unreachable,
            code if code.code().starts_with("28")
                || code.code().starts_with("3D")
                || code.code().starts_with("42") =>
            {
                Kind::Refused
            }
            _ => Kind::Broken,
        };
        Self::new(kind, format!("{} ({})", told.message(), told.code().code()))
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            Kind::Unreachable => "postgresql can't be reached",
            Kind::Refused => "postgresql refuses",
            Kind::Broken => "postgresql answered what it should not",
        };
        write!(f, "{what}: {}", self.message)
    }
}

impl std::error::Error for PostgresError {}
