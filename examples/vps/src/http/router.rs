//! All routes in one router, and what every request passes.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /` and files | session or token | the web client |
//!
//! Every other route belongs to a feature and is listed in its documentation.

use std::{panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tower_http::trace::TraceLayer;
use tracing::{Span, field};

use super::{
    assets,
    guard::{Access, authenticate},
    login,
    routes::Routes,
    source::note_source,
};

/// The largest request body, in bytes: the longest chat message in JSON with every character
/// escaped, and some room.
const MAX_BODY: usize = 256 * 1024;

/// The routes of the features behind the checks that every request passes. `forwarded` is the
/// header in which a trusted proxy names the client.
pub fn router(routes: Routes, access: Access, forwarded: Option<HeaderName>) -> Router {
    let routes = routes.merge(login::routes(&access));
    let protected =
        routes.protected.fallback(get(files)).layer(middleware::from_fn_with_state(access, authenticate));
    Router::new()
        .merge(routes.open)
        .merge(protected)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(move |request, next| note_source(forwarded.clone(), request, next)))
        .layer(middleware::from_fn(harden))
        .layer(middleware::from_fn(catch_panic))
        .layer(
            TraceLayer::new_for_http()
                .make_span_with(span)
                .on_request(())
                .on_response(answered)
                // A 503 from `/readyz` is not an error of this server.
                .on_failure(()),
        )
}

/// A request in the log and in traces: its path without the query, which may hold the token of a
/// login link.
fn span(request: &Request) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    tracing::info_span!("request", %method, path, status = field::Empty)
}

fn answered(response: &Response, _: Duration, span: &Span) {
    span.record("status", response.status().as_u16());
}

async fn files(request: Request) -> Response {
    assets::serve(request.uri().path())
}

/// Adds the headers that every answer carries. The policy allows this page's own files, WebAssembly
/// for the detector, and nothing else.
async fn harden(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let fixed = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self' blob:; img-src 'self' data:; \
             connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Turns a panic in a handler into a 500, so that it touches no other request. The panic hook of
/// the process has logged it.
async fn catch_panic(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
