//! Why there is no token, and whose side it was. Nothing here holds a token, a code or a secret.

use std::time::Duration;

use livos_core::secret::Secret;

/// Why a token endpoint gave no tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// `invalid_grant`: the code or the refresh token is good for nothing any more, and asking
    /// again is in vain.
    #[error("the provider says that the grant has ended: {}", .0.as_deref().unwrap_or("invalid_grant"))]
    InvalidGrant(
        /// The provider's `error_subtype`.
        Option<String>,
    ),
    /// The provider refuses this client, or what it asks: a matter for the operator. It says
    /// nothing about the grant.
    #[error("the provider refuses this client or what it asks: {0}")]
    Refused(
        /// The provider's `error`.
        String,
    ),
    /// The provider is busy, broken or out of reach, or its answer can't be read. Worth asking
    /// again.
    #[error("the provider gave no answer that can be used: {what}")]
    Unavailable {
        /// What happened.
        what: String,
        /// How long the provider wants to be left alone.
        retry_after: Option<Duration>,
    },
}

impl EndpointError {
    /// The same, where the provider's code does not repeat this secret.
    pub(super) fn without(self, secret: &Secret) -> Self {
        match self {
            Self::InvalidGrant(subtype) => Self::InvalidGrant(subtype.map(|code| secret.redact(&code))),
            Self::Refused(code) => Self::Refused(secret.redact(&code)),
            Self::Unavailable { .. } => self,
        }
    }

    pub(super) fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), retry_after: None }
    }
}

/// Why a grant can't be used until somebody consents.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// Nobody consented yet.
    NeverGiven,
    /// The provider said `invalid_grant`: the consent was taken back, it expired, the password was
    /// changed, or a newer one pushed it out.
    InvalidGrant(
        /// The provider's `error_subtype`.
        Option<String>,
    ),
    /// The access token is over, and there is no refresh token.
    NoRefreshToken,
    /// The user disconnected the account here.
    Disconnected,
    /// What was stored can't be opened: the key is gone, or the record was damaged.
    Unreadable,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NeverGiven => f.write_str("nobody consented yet"),
            Self::InvalidGrant(None) => f.write_str("the provider ended it"),
            Self::InvalidGrant(Some(subtype)) => write!(f, "the provider ended it ({subtype})"),
            Self::NoRefreshToken => f.write_str("its token is over and there is none to renew it with"),
            Self::Disconnected => f.write_str("it was disconnected"),
            Self::Unreadable => f.write_str("what was stored of it can't be read"),
        }
    }
}

/// Why a caller gets no access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// Somebody has to consent again. Asking again before that is in vain.
    #[error("access needs a new consent: {0}")]
    NeedsConsent(Ending),
    /// The provider refuses the client: the operator has to look at the configuration.
    #[error("the provider refuses this client: {0}")]
    Misconfigured(String),
    /// There is no good token now, and there may be one later.
    #[error("no access token for now: {what}")]
    Unavailable {
        /// What stands in the way.
        what: String,
        /// When it may be worth while to ask again.
        retry_after: Duration,
    },
    /// More callers wait than may.
    #[error("too many callers wait for an access token")]
    Busy,
    /// The keeper of the grant has ended.
    #[error("the keeper of the grant has ended")]
    Closed,
}

impl TokenError {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Busy)
    }

    /// When it may be worth while to ask again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}
