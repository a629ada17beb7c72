//! Why Gmail did not do it, told apart by what a caller can do about it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{error::Error, fmt, time::Duration};

use http::{HeaderMap, StatusCode};
use livos_core::time::{Clock, SystemClock};
use serde::Deserialize;

type BoxError = Box<dyn Error + Send + Sync>;

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GmailErrorKind {
    /// The grant is gone: no call succeeds before the user consents again.
    TokenDead,
    /// Too many calls in a short time. Gmail did nothing; later it will.
    RateLimited,
    /// The quota of a day is spent.
    QuotaSpent,
    /// The grant or the project may not do this: a scope is missing, the API is off, a policy is
    /// against it. Waiting does not help.
    Forbidden,
    /// There is no such message, label or place in the history.
    NotFound,
    /// Gmail does not take this request.
    Rejected,
    /// Gmail failed, or could not be reached. What was asked for may have happened.
    Unavailable,
    /// The answer is not of the protocol.
    Unreadable,
    /// What was asked for is longer than may be.
    TooLarge,
}

/// A call to Gmail that failed. Holds no token and no mail.
#[derive(Debug)]
pub struct GmailError {
    operation: &'static str,
    kind: GmailErrorKind,
    status: Option<StatusCode>,
    reason: String,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl GmailError {
    pub(super) fn new(operation: &'static str, kind: GmailErrorKind, reason: impl Into<String>) -> Self {
        Self { operation, kind, status: None, reason: reason.into(), retry_after: None, source: None }
    }

    pub(super) fn caused_by(mut self, source: BoxError) -> Self {
        self.source = Some(source);
        self
    }

    /// An answer that is not a success, by its status and by the reason in its body, as
    /// <https://developers.google.com/workspace/gmail/api/guides/handle-errors> lists them.
    pub(super) fn answered(
        operation: &'static str,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Self {
        let said = serde_json::from_slice::<Answer>(body).unwrap_or_default().error;
        let first = said.errors.into_iter().next().map(|error| error.reason);
        let reason = first.filter(|reason| !reason.is_empty()).unwrap_or(said.status);
        let kind = kind(status, &reason);
        let retry_after = livos_core::http::retry_after(headers, SystemClock.now());
        let mut error = Self::new(operation, kind, printable(&reason));
        (error.status, error.retry_after) = (Some(status), retry_after);
        error
    }

    /// What is to be done about it.
    pub fn kind(&self) -> GmailErrorKind {
        self.kind
    }

    /// Whether the grant is gone, so that no call succeeds before the user consents again.
    pub fn is_token_dead(&self) -> bool {
        self.kind == GmailErrorKind::TokenDead
    }

    /// Whether what was named is not there.
    pub fn is_not_found(&self) -> bool {
        self.kind == GmailErrorKind::NotFound
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        use GmailErrorKind as Kind;
        matches!(self.kind, Kind::RateLimited | Kind::QuotaSpent | Kind::Unavailable)
    }

    /// How long Gmail asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The status of the answer, where one came.
    pub fn status(&self) -> Option<StatusCode> {
        self.status
    }

    /// Gmail's own word for it, such as `userRateLimitExceeded`.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for GmailError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use GmailErrorKind as Kind;
        let what = match self.kind {
            Kind::TokenDead => "the grant is gone and the user must consent again",
            Kind::RateLimited => "gmail is asked too often",
            Kind::QuotaSpent => "the quota of the day is spent",
            Kind::Forbidden => "gmail does not allow it to this grant or project",
            Kind::NotFound => "gmail has no such thing",
            Kind::Rejected => "gmail does not take the request",
            Kind::Unavailable => "gmail failed or could not be reached",
            Kind::Unreadable => "gmail's answer can't be read",
            Kind::TooLarge => "it is longer than may be",
        };
        write!(f, "{}: {what}", self.operation)?;
        match (&self.status, self.reason.as_str()) {
            (Some(status), "") => write!(f, " ({})", status.as_u16()),
            (Some(status), reason) => write!(f, " ({} {reason})", status.as_u16()),
            (None, "") => Ok(()),
            (None, reason) => write!(f, " ({reason})"),
        }
    }
}

impl Error for GmailError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// What a service below the client answers with, or has in the chain of its error, where the grant
/// is gone. A token layer with an error of its own is made known with
/// [`super::Gmail::with_token_death`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the grant is gone and the user must consent again")]
pub struct ConsentNeeded;

fn kind(status: StatusCode, reason: &str) -> GmailErrorKind {
    use GmailErrorKind as Kind;
    match (status.as_u16(), reason) {
        (401, _) => Kind::TokenDead,
        (403 | 429, "dailyLimitExceeded" | "dailyLimitExceededUnreg" | "quotaExceeded") => Kind::QuotaSpent,
        (403, "rateLimitExceeded" | "userRateLimitExceeded" | "RESOURCE_EXHAUSTED") | (429, _) => {
            Kind::RateLimited
        }
        (403, "backendError") | (408 | 500..=599, _) => Kind::Unavailable,
        (403, _) => Kind::Forbidden,
        (404 | 410, _) => Kind::NotFound,
        (413, _) => Kind::TooLarge,
        _ => Kind::Rejected,
    }
}

/// A reason is one word of the protocol. What else a server may send there is not carried on, and
/// not made a word by leaving out what is none.
fn printable(reason: &str) -> &str {
    const MOST: usize = 64;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if reason.len() <= MOST && reason.bytes().all(fits) { reason } else { "" }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Answer {
    error: Said,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Said {
    status: String,
    errors: Vec<Detail>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Detail {
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, reason: &str) -> GmailError {
        let body =
            format!(r#"{{"error":{{"code":{status},"errors":[{{"domain":"x","reason":"{reason}"}}]}}}}"#);
        GmailError::answered(
            "read",
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            body.as_bytes(),
        )
    }

    #[test]
    fn refusals_are_told_apart_by_their_reason() {
        use GmailErrorKind as Kind;
        let table = [
            (401, "authError", Kind::TokenDead, false),
            (403, "rateLimitExceeded", Kind::RateLimited, true),
            (403, "userRateLimitExceeded", Kind::RateLimited, true),
            (429, "rateLimitExceeded", Kind::RateLimited, true),
            (429, "", Kind::RateLimited, true),
            (403, "dailyLimitExceeded", Kind::QuotaSpent, true),
            (403, "insufficientPermissions", Kind::Forbidden, false),
            (403, "accessNotConfigured", Kind::Forbidden, false),
            (403, "domainPolicy", Kind::Forbidden, false),
            (404, "notFound", Kind::NotFound, false),
            (400, "failedPrecondition", Kind::Rejected, false),
            (413, "uploadTooLarge", Kind::TooLarge, false),
            (500, "backendError", Kind::Unavailable, true),
            (503, "", Kind::Unavailable, true),
        ];
        for (status, reason, kind, temporary) in table {
            let error = answered(status, reason);
            assert_eq!((error.kind(), error.is_temporary()), (kind, temporary), "{status} {reason}");
        }
    }

    #[test]
    fn the_status_in_words_stands_in_for_a_reason_that_is_missing() {
        let body = br#"{"error":{"code":403,"status":"RESOURCE_EXHAUSTED"}}"#;
        let error = GmailError::answered("read", StatusCode::FORBIDDEN, &HeaderMap::new(), body);
        assert_eq!((error.kind(), error.reason()), (GmailErrorKind::RateLimited, "RESOURCE_EXHAUSTED"));
    }

    #[test]
    fn a_body_that_is_no_error_of_google_is_judged_by_its_status() {
        for body in [&b"<html>"[..], b"", b"{\"error\":\"invalid\"}", b"\xff"] {
            let error = GmailError::answered("read", StatusCode::BAD_GATEWAY, &HeaderMap::new(), body);
            assert_eq!((error.kind(), error.reason()), (GmailErrorKind::Unavailable, ""));
        }
        assert_eq!(answered(403, "a b\\u000a<i>").reason(), "");
    }

    #[test]
    fn the_wait_that_gmail_asks_for_is_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "17".parse().unwrap());
        let error = GmailError::answered("read", StatusCode::TOO_MANY_REQUESTS, &headers, b"");
        assert_eq!(error.retry_after(), Some(Duration::from_secs(17)));
        assert_eq!(error.to_string(), "read: gmail is asked too often (429)");
    }
}
