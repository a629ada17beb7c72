//! The check in front of protected routes: a credential, and for requests that a browser sends by
//! itself also the `Origin`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use livos_core::{http::describe, store::Store};
use serde_json::json;
use tower::BoxError;

use super::{
    assets,
    auth::{Auth, Credential, shows_bearer},
    config::ServerSection,
    guesses::Guesses,
    source::Source,
};

/// Who may use the protected routes. Cloning shares it.
#[derive(Clone)]
pub struct Access {
    pub auth: Arc<Auth>,
    pub guesses: Arc<Guesses>,
    /// Origins that may use the session cookie, in addition to the address of the request.
    pub origins: Arc<[String]>,
}

impl Access {
    /// As the section configures it.
    pub fn new(server: &ServerSection, store: Arc<dyn Store>) -> Self {
        let auth = Auth::new(server.token.as_ref(), server.is_https(), store);
        Self { auth: Arc::new(auth), guesses: Arc::default(), origins: server.origins().into() }
    }
}

/// Lets a request through if it carries a credential and, if it could change something, comes from
/// an allowed origin.
pub async fn authenticate(State(access): State<Access>, request: Request, next: Next) -> Response {
    let guesser = request.extensions().get().copied().filter(|_| shows_bearer(request.headers()));
    if let Some(wait) = guesser.and_then(|Source(client)| access.guesses.wait(client, Instant::now())) {
        return too_many_guesses(wait);
    }
    let credential = match access.auth.check(request.headers()).await {
        Ok(Some(credential)) => credential,
        Ok(None) => {
            if let Some(Source(client)) = guesser {
                access.guesses.wrong(client, Instant::now());
            }
            return unauthorized(&request);
        }
        Err(error) => return unavailable(&error),
    };
    if changes_state(&request) && !origin_allowed(request.headers(), credential, &access.origins) {
        return wrong_origin(request.headers());
    }
    next.run(request).await
}

/// Whether a page of another site could do harm with this request although it can't read the
/// answer. A WebSocket begins with a GET, and is open to both directions afterwards.
fn changes_state(request: &Request) -> bool {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    !is_safe || request.headers().contains_key(header::UPGRADE)
}

/// Whether the request comes from the page's own origin, or from one that the operator named.
///
/// A browser sends `Origin` with each WebSocket and with each request that changes something. A
/// program with the bearer token need not send it.
fn origin_allowed(headers: &HeaderMap, credential: Credential, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return credential == Credential::Bearer };
    let Ok(origin) = origin.to_str() else { return false };
    if allowed.iter().any(|one| one.trim_end_matches('/').eq_ignore_ascii_case(origin)) {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    matches!((authority, host), (Some(a), Some(b)) if a.eq_ignore_ascii_case(b))
}

/// The answer to a client that guesses.
pub fn too_many_guesses(wait: Duration) -> Response {
    let seconds = wait.as_secs().max(1);
    let body =
        Json(json!({ "kind": "limit", "message": format!("too many wrong tokens; wait {seconds} s") }));
    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())], body).into_response()
}

/// The answer while sessions can't be read or written.
pub fn unavailable(error: &BoxError) -> Response {
    tracing::error!(error = describe(&**error), "sessions can't be read or written");
    let body =
        Json(json!({ "kind": "unavailable", "message": "logins can't be checked now; try again soon" }));
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

/// Names the line that lets a page behind a proxy in. A request of another site gets it too, which
/// tells it only what it knows.
fn wrong_origin(headers: &HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("none");
    let (origin, host) = (text(header::ORIGIN), text(header::HOST));
    tracing::warn!(
        origin,
        host,
        "refused: the page's origin is not this server's address; if a proxy is in front, set public_url under [server]"
    );
    let message = format!(
        "The page's address is {origin}, but the server was reached as {host}. If a proxy is in front, add under \
         [server] in livos.toml: public_url = \"{origin}\""
    );
    (StatusCode::FORBIDDEN, Json(json!({ "kind": "wrong_origin", "message": message }))).into_response()
}

fn unauthorized(request: &Request) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    if request.method() == Method::GET && accept.is_some_and(|accept| accept.contains("text/html")) {
        return assets::page(
            StatusCode::UNAUTHORIZED,
            "Please log in",
            "Open the login link that the server printed when it started, or run `livos-vps token` for a new one. A link works once and sets a cookie in this browser.",
        );
    }
    let body = Json(json!({ "kind": "rejected", "message": "a session cookie or bearer token is needed" }));
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn another_page_may_not_use_the_cookie() {
        let own = headers(&[("host", "127.0.0.1:8420"), ("origin", "http://127.0.0.1:8420")]);
        let other = headers(&[("host", "127.0.0.1:8420"), ("origin", "https://evil.example")]);
        let none = headers(&[("host", "127.0.0.1:8420")]);
        let named = vec!["https://voice.example/".to_owned()];
        assert!(origin_allowed(&own, Credential::Cookie, &[]));
        assert!(!origin_allowed(&other, Credential::Cookie, &[]));
        assert!(!origin_allowed(&other, Credential::Bearer, &[]));
        assert!(!origin_allowed(&none, Credential::Cookie, &[]));
        assert!(origin_allowed(&none, Credential::Bearer, &[]));
        assert!(origin_allowed(
            &headers(&[("host", "x"), ("origin", "https://voice.example")]),
            Credential::Cookie,
            &named
        ));
    }
}
