//! What a provider expects of an endpoint, besides a verdict: how long its repeats come, and the
//! answers that it understands.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};

use super::error::{Fault, VerifyError};

/// How far a signed timestamp may lie in the past, or in the future. 300 s: what the providers' own
/// libraries allow.
pub const TOLERANCE: Duration = Duration::from_secs(300);
/// Longer than any provider that signs its timestamps retries.
pub(super) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// For providers that sign no timestamp, and for Pub/Sub, which may retry for 31 days.
pub(super) const MONTH: Duration = Duration::from_secs(32 * 24 * 3600);

/// What an endpoint does for one provider.
///
/// ```
/// use std::time::Duration;
/// use livos_integrations::webhook::ProviderPolicy;
///
/// let policy = ProviderPolicy::new("acme").with_retention(Duration::from_secs(3600));
/// assert_eq!(policy.provider, "acme");
/// assert!(!policy.takes_get);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderPolicy {
    /// The provider's name in logs, metrics and jobs, as in `github`.
    pub provider: Cow<'static, str>,
    /// How long a delivery is remembered, so that its repeat is a duplicate. 7 days: longer than
    /// providers retry. If no timestamp is signed, this is also how long a captured delivery is
    /// worthless, and 32 days is right.
    pub retention: Duration,
    /// Whether deliveries may come by `GET`. False.
    pub takes_get: bool,
    /// The answer to a delivery that is durable, or that repeats a durable one. 200 without a body.
    pub accepted: ProviderAnswer,
    /// The answer when a delivery could not be enqueued. `None`: 503 with `Retry-After`.
    pub unavailable: Option<ProviderAnswer>,
    /// The status for every request that is the sender's fault. `None`: [`VerifyError::status`].
    pub refused: Option<StatusCode>,
}

impl ProviderPolicy {
    /// A policy with the defaults of the fields.
    pub fn new(provider: impl Into<Cow<'static, str>>) -> Self {
        Self {
            provider: provider.into(),
            retention: WEEK,
            takes_get: false,
            accepted: ProviderAnswer::status(StatusCode::OK),
            unavailable: None,
            refused: None,
        }
    }

    /// Sets [`ProviderPolicy::retention`].
    #[must_use]
    pub fn with_retention(self, retention: Duration) -> Self {
        Self { retention, ..self }
    }

    /// Takes deliveries by `GET` too.
    #[must_use]
    pub fn with_get(self) -> Self {
        Self { takes_get: true, ..self }
    }

    /// Sets [`ProviderPolicy::accepted`].
    #[must_use]
    pub fn with_accepted(self, accepted: ProviderAnswer) -> Self {
        Self { accepted, ..self }
    }

    /// Sets [`ProviderPolicy::unavailable`].
    #[must_use]
    pub fn with_unavailable(self, answer: ProviderAnswer) -> Self {
        Self { unavailable: Some(answer), ..self }
    }

    /// Sets [`ProviderPolicy::refused`].
    #[must_use]
    pub fn with_refused(self, status: StatusCode) -> Self {
        Self { refused: Some(status), ..self }
    }

    /// The status that refuses a request with this error.
    pub fn refusal(&self, error: &VerifyError) -> StatusCode {
        match (error.fault(), self.refused) {
            (Fault::Sender, Some(status)) => status,
            _ => error.status(),
        }
    }
}

/// A whole answer in the provider's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderAnswer {
    status: StatusCode,
    content_type: Option<&'static str>,
    body: Bytes,
}

impl ProviderAnswer {
    /// An answer without a body.
    pub fn status(status: StatusCode) -> Self {
        Self { status, content_type: None, body: Bytes::new() }
    }

    /// A 200 with a body of this type.
    pub fn body(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { status: StatusCode::OK, content_type: Some(content_type), body: body.into() }
    }

    /// The answer as an HTTP response.
    pub fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.body.clone());
        *response.status_mut() = self.status;
        if let Some(content_type) = self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }
}
