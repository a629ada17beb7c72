//! Refused calls, with the provider's texts.

use std::time::Duration;

use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use crate::serve::{self, Body};

/// A refused call.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) code: u16,
    pub(super) description: String,
    pub(super) parameters: Value,
}

impl Failure {
    pub(super) fn new(code: u16, description: impl Into<String>) -> Self {
        Self { code, description: description.into(), parameters: Value::Null }
    }

    pub(super) fn bad(what: &str) -> Self {
        Self::new(400, format!("Bad Request: {what}"))
    }

    pub(super) fn flood(wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        let description = format!("Too Many Requests: retry after {seconds}");
        Self { code: 429, description, parameters: json!({ "retry_after": seconds }) }
    }
}

/// What a method returns.
pub(super) type Answer = Result<Value, Failure>;

/// As the provider writes it.
pub(super) fn failure(failure: &Failure) -> Response<Body> {
    let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut body = json!({ "ok": false, "error_code": failure.code, "description": failure.description });
    if failure.parameters.is_object() {
        body["parameters"] = failure.parameters.clone();
    }
    let mut response = serve::json(status, &body);
    if let Some(seconds) = failure.parameters["retry_after"].as_u64() {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}
