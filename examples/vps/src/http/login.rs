//! `GET /login?token=…`: exchanges a login link for a session cookie.

use std::{sync::Arc, time::Instant};

use axum::{
    Router,
    extract::{Query, State, rejection::QueryRejection},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde::Deserialize;

use super::{assets, auth::Auth};

pub fn routes(auth: Arc<Auth>) -> Router {
    Router::new().route("/login", get(log_in).head(no_head)).with_state(auth)
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

async fn log_in(State(auth): State<Arc<Auth>>, query: Result<Query<LoginQuery>, QueryRejection>) -> Response {
    let Ok(Query(LoginQuery { token })) = query else { return refused() };
    match auth.log_in(&token, Instant::now()) {
        Ok(Some(cookie)) => ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response(),
        Ok(None) => refused(),
        Err(error) => {
            tracing::error!(%error, "no randomness for a session token");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

fn refused() -> Response {
    assets::page(
        StatusCode::UNAUTHORIZED,
        "This login link does not work",
        "A link works once. Restart the server for a new one.",
    )
}
