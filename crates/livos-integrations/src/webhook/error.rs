//! Why a delivery is refused: whose fault it is, and never a secret or the signature that was expected.

use http::StatusCode;

/// A delivery is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A header is missing.
    #[error("the delivery has no {0} header")]
    Missing(&'static str),
    /// A header stands twice, or is not of the provider's form.
    #[error("the delivery's {0} header is malformed or stands twice")]
    Malformed(&'static str),
    /// No active secret made this signature.
    #[error("the delivery's signature is not by any active secret")]
    WrongSignature,
}

impl VerifyError {
    /// The status to answer with: 400 for what no retry can mend, 401 for a signature.
    pub fn status(self) -> StatusCode {
        match self {
            Self::Missing(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::WrongSignature => StatusCode::UNAUTHORIZED,
        }
    }
}

/// A verifier can't be made of these secrets: anybody could sign with an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a webhook needs at least one secret, and none may be blank")]
pub struct InvalidSecret;
