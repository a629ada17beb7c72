//! The seam that every provider implements, and one delivery on its way through it.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::request::Parts;
use livos_core::time::Timestamp;

use super::{
    check::Check,
    delivery::{Delivery, Verified},
    error::VerifyError,
    policy::ProviderPolicy,
};

/// Checks the deliveries of one provider, by any of several secrets, so that one can be replaced by
/// another while both are valid.
///
/// No request makes it panic, and none costs more than one MAC for each secret before it is
/// refused. A header that matters must appear exactly once; encodings are the provider's canonical
/// ones; timestamps are checked in both directions. A type outside this crate can wrap a verifier,
/// and can't make a [`Verified`]:
///
/// ```
/// use http::request::Parts;
/// use livos_core::time::Timestamp;
/// use livos_integrations::webhook::{GitHub, Opened, ProviderPolicy, Verifier, VerifyError};
///
/// /// GitHub, but only for one event.
/// struct Pushes(GitHub);
///
/// impl Verifier for Pushes {
///     fn policy(&self) -> ProviderPolicy {
///         self.0.policy()
///     }
///
///     fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
///         match request.headers.get("x-github-event") {
///             Some(event) if event == "push" => self.0.open(now, request),
///             _ => Err(VerifyError::Body("it is not a push")),
///         }
///     }
/// }
/// ```
pub trait Verifier: Send + Sync {
    /// What an endpoint does for this provider. Read once, when the endpoint is made.
    fn policy(&self) -> ProviderPolicy;

    /// Judges the head of a request. A verifier that first needs something, such as the provider's
    /// keys, answers [`Opened::Pending`].
    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError>;

    /// Checks a request whose whole body is there. The future is ready at once unless the
    /// provider's keys have to be fetched, which must happen inside a tokio runtime.
    fn verify(&self, now: Timestamp, request: &Parts, body: Bytes) -> Verifying {
        Verifying { opened: Some(self.open(now, request)), body }
    }
}

/// A check that waits for something first. It ends in bounded time.
pub type PendingCheck = Pin<Box<dyn Future<Output = Result<Check, VerifyError>> + Send>>;

/// A request whose head was not refused.
pub enum Opened {
    /// The body can be checked.
    Ready(Check),
    /// The body can be checked after this.
    Pending(PendingCheck),
}

impl Opened {
    /// The check of the body, once it can begin.
    pub async fn ready(self) -> Result<Check, VerifyError> {
        match self {
            Self::Ready(check) => Ok(check),
            Self::Pending(pending) => pending.await,
        }
    }
}

impl From<Check> for Opened {
    fn from(check: Check) -> Self {
        Self::Ready(check)
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(check) => f.debug_tuple("Ready").field(check).finish(),
            Self::Pending(_) => f.debug_tuple("Pending").finish_non_exhaustive(),
        }
    }
}

/// The future of [`Verifier::verify`].
#[must_use = "futures do nothing unless polled"]
pub struct Verifying {
    opened: Option<Result<Opened, VerifyError>>,
    body: Bytes,
}

impl fmt::Debug for Verifying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifying").field("opened", &self.opened).finish_non_exhaustive()
    }
}

impl Future for Verifying {
    type Output = Result<Verified<Delivery>, VerifyError>;

    /// # Panics
    ///
    /// When polled again after it was ready, as any future may.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let opened = match &mut this.opened {
            Some(Ok(Opened::Pending(pending))) => Some(ready!(pending.as_mut().poll(cx)).map(Opened::Ready)),
            _ => None,
        };
        let mut check = match opened.or_else(|| this.opened.take()) {
            Some(Ok(Opened::Ready(check))) => check,
            Some(Err(error)) => return Poll::Ready(Err(error)),
            _ => panic!("polled after it was ready"),
        };
        this.opened = None;
        check.update(std::mem::take(&mut this.body));
        Poll::Ready(check.finish())
    }
}
