//! Why a request to Discord came to nothing.

use std::time::Duration;

use http::StatusCode;
use tower::BoxError;

use super::limits::Withheld;

/// A request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestError {
    /// Discord refused it. `message` is Discord's own, without what was sent.
    #[error("discord refused the request with status {status}: {message} (code {code})")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Discord's code for the reason; 0 where it gave none.
        code: u32,
        /// Its words.
        message: String,
    },
    /// Discord's limits allow it only later than anybody wanted to wait.
    #[error("discord's limits allow the request only in {retry_after:?}")]
    Limited {
        /// When it may succeed.
        retry_after: Duration,
    },
    /// It was not sent.
    #[error("the request to discord was not sent")]
    Withheld(#[source] Withheld),
    /// Discord has a problem of its own, after all attempts.
    #[error("discord failed with status {0}")]
    Failed(StatusCode),
    /// Discord could not be reached, after all attempts.
    #[error("discord could not be reached")]
    Unreachable(#[source] BoxError),
    /// It took too long.
    #[error("discord did not answer within {0:?}")]
    TimedOut(Duration),
    /// The answer is not what the documentation says.
    #[error("discord's answer can't be read")]
    Malformed(#[source] BoxError),
    /// The answer or the file is longer than allowed.
    #[error("discord's answer is longer than the {0} bytes that are allowed")]
    TooLong(usize),
    /// The request can't be built: our configuration or our argument is wrong.
    #[error("the request to discord can't be built")]
    Invalid(#[source] BoxError),
}

impl RestError {
    /// Whether the same may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Limited { .. } | Self::Failed(_) | Self::Unreachable(_) | Self::TimedOut(_) => true,
            Self::Withheld(why) => *why == Withheld::Invalid,
            Self::Refused { .. } | Self::Malformed(_) | Self::TooLong(_) | Self::Invalid(_) => false,
        }
    }

    /// How long Discord asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Limited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether Discord refused the bot's token, now or before.
    pub fn is_unauthorized(&self) -> bool {
        match self {
            Self::Refused { status, .. } => *status == StatusCode::UNAUTHORIZED,
            Self::Withheld(why) => *why == Withheld::Unauthorized,
            _ => false,
        }
    }

    /// Whether what the request was about is gone, or was never ours: a channel, a message, an
    /// interaction that is over.
    pub fn is_gone(&self) -> bool {
        match self {
            Self::Refused { status, .. } => {
                matches!(*status, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) || self.is_unauthorized()
            }
            Self::Withheld(Withheld::Remembered(_)) => true,
            _ => false,
        }
    }
}
