//! Refusals in Google's form.

use http::{StatusCode, header};
use serde_json::json;

use super::Trouble;
use crate::serve::{self, Body};

/// A refusal: its status, the reason in Google's words, and a message.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    status: StatusCode,
    reason: &'static str,
    message: String,
    retry_after: Option<u64>,
}

impl Refused {
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), retry_after: None }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalidArgument", message)
    }

    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "notFound", "Requested entity was not found.")
    }

    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "authError", "Invalid Credentials")
    }

    pub fn into_response(self) -> http::Response<Body> {
        let name = match self.status.as_u16() {
            400 => "INVALID_ARGUMENT",
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            409 => "ALREADY_EXISTS",
            429 => "RESOURCE_EXHAUSTED",
            503 => "UNAVAILABLE",
            _ => "INTERNAL",
        };
        let domain = if self.reason.contains("imit") { "usageLimits" } else { "global" };
        let detail = json!({ "message": self.message, "domain": domain, "reason": self.reason });
        let code = self.status.as_u16();
        let body =
            json!({ "error": { "code": code, "message": self.message, "errors": [detail], "status": name } });
        let mut response = serve::json(self.status, &body);
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"";
            let challenge = header::HeaderValue::from_static(challenge);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        let forbidden = |reason, message: &str| Self::new(StatusCode::FORBIDDEN, reason, message);
        match trouble {
            Trouble::RateLimited => forbidden("rateLimitExceeded", "Rate Limit Exceeded"),
            Trouble::UserRateLimited => forbidden("userRateLimitExceeded", "User Rate Limit Exceeded"),
            Trouble::TooMany(seconds) => {
                let (status, message) =
                    (StatusCode::TOO_MANY_REQUESTS, "Too many concurrent requests for user");
                Self { retry_after: Some(seconds), ..Self::new(status, "rateLimitExceeded", message) }
            }
            Trouble::DailyLimit => forbidden("dailyLimitExceeded", "Daily Limit Exceeded"),
            Trouble::InsufficientPermissions => {
                forbidden("insufficientPermissions", "Request had insufficient authentication scopes.")
            }
            Trouble::NotConfigured => forbidden(
                "accessNotConfigured",
                "Gmail API has not been used in project before or it is disabled.",
            ),
            Trouble::Backend => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "backendError", "Backend Error"),
            Trouble::AnswerLost => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "backendError", "Service Unavailable")
            }
        }
    }
}
