//! Why a delivery is refused: whose fault it is, and never a secret or the signature that was
//! expected.

use std::time::Duration;

use http::{HeaderName, StatusCode};

/// A delivery is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing.
    #[error("the sender's delivery has no {0} header")]
    Missing(HeaderName),
    /// A header is not of the provider's form.
    #[error("the sender's {0} header is malformed")]
    Malformed(HeaderName),
    /// A header stands twice: a proxy and this server might each read another.
    #[error("the sender's {0} header stands twice")]
    Repeated(HeaderName),
    /// No active secret made this signature.
    #[error(
        "the delivery's signature is by no active secret: the sender's fault, or a secret here is not the sender's"
    )]
    WrongSignature,
    /// It was signed too long ago, or in the future.
    #[error("the delivery was signed outside the tolerated time: it is a replay, or a clock is wrong")]
    OutsideWindow,
    /// The token is authentic or not, but it says something that it may not.
    #[error("the sender's token has a wrong or missing {0}")]
    WrongClaim(&'static str),
    /// The body is of a form that the signature does not cover.
    #[error("the sender's body can't be verified: {0}")]
    Body(&'static str),
    /// The provider's keys are not here, so nothing can be said about the delivery.
    #[error("the provider's keys could not be had here, and are asked for again in {} s", retry_after.as_secs())]
    KeysUnavailable {
        /// When they are asked for again.
        retry_after: Duration,
    },
}

/// Whose fault a refusal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender's: no retry mends it.
    Sender,
    /// Ours, or of what we depend on: a retry may be taken.
    Here,
}

impl VerifyError {
    /// The status to answer with: 400 for what has the wrong form, 401 for what proves nothing, 503
    /// for what could not be judged.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Missing(_) | Self::Malformed(_) | Self::Repeated(_) | Self::Body(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::WrongSignature | Self::OutsideWindow | Self::WrongClaim(_) => StatusCode::UNAUTHORIZED,
            Self::KeysUnavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::KeysUnavailable { .. } => Fault::Here,
            _ => Fault::Sender,
        }
    }

    /// One word for metrics.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Malformed(_) => "malformed",
            Self::Repeated(_) => "repeated",
            Self::WrongSignature => "signature",
            Self::OutsideWindow => "window",
            Self::WrongClaim(_) => "claim",
            Self::Body(_) => "body",
            Self::KeysUnavailable { .. } => "keys",
        }
    }
}

/// A verifier can't be made of these secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSecret {
    /// There is none: everybody could send anything.
    #[error("a webhook needs a secret")]
    None,
    /// There are more than a rotation needs, and each costs a MAC for each request of a stranger.
    #[error("a webhook has more than {} secrets", super::keys::MAX)]
    TooMany,
    /// One is blank: anybody can sign with that.
    #[error("a secret of a webhook is blank")]
    Blank,
    /// One is not of the provider's form.
    #[error("a secret of a webhook is malformed: {0}")]
    Malformed(&'static str),
}
