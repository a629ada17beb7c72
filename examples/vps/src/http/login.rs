//! Logging in and out.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /login?token=…` | anyone with a login link | sets the session cookie |
//! | `POST /v1/session` | session or token | 204: a WebSocket would be let in too |
//! | `POST /logout` | session or token | ends the session of this browser |

use std::time::Instant;

use axum::{
    Router,
    extract::{Extension, Query, State, rejection::QueryRejection},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{
    assets,
    guard::{Access, too_many_guesses, unavailable},
    routes::Routes,
    source::Source,
};

pub fn routes(access: &Access) -> Routes {
    Routes {
        open: Router::new().route("/login", get(log_in).head(no_head)).with_state(access.clone()),
        protected: Router::new()
            .route("/logout", post(log_out))
            .route("/v1/session", post(|| async { StatusCode::NO_CONTENT }))
            .with_state(access.clone()),
    }
}

/// A link works once. A program that only looks at it, such as the preview of a chat app, must not
/// use it up.
async fn no_head() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")]).into_response()
}

#[derive(Deserialize)]
struct LoginQuery {
    token: String,
}

async fn log_in(
    State(access): State<Access>,
    source: Option<Extension<Source>>,
    query: Result<Query<LoginQuery>, QueryRejection>,
) -> Response {
    let (client, now) = (source.map(|Extension(Source(client))| client), Instant::now());
    if let Some(wait) = client.and_then(|client| access.guesses.wait(client, now)) {
        return too_many_guesses(wait);
    }
    let Ok(Query(LoginQuery { token })) = query else { return refused() };
    match access.auth.log_in(&token, now).await {
        Ok(Some(cookie)) => {
            tracing::info!(client = client.map(tracing::field::display), "a browser logged in");
            ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
        }
        Ok(None) => {
            if let Some(client) = client {
                access.guesses.wrong(client, now);
            }
            refused()
        }
        Err(error) => unavailable(&error),
    }
}

async fn log_out(State(access): State<Access>, headers: HeaderMap) -> Response {
    match access.auth.log_out(&headers).await {
        Ok(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        Err(error) => unavailable(&error),
    }
}

fn refused() -> Response {
    assets::page(
        StatusCode::UNAUTHORIZED,
        "This login link does not work",
        "A link works once. Run `livos-vps token` on the server for a new one.",
    )
}
