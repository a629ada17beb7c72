//! The pages of the consent.

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, get_service, post},
};
use http::StatusCode;
use livos_core::time::{Clock, SystemClock, Timestamp};
use livos_integrations::oauth::{CallbackPage, GrantState, StartPage, TokenSource};
use serde_json::{Value, json};

use super::grant::Grant;
use crate::http::Routes;

pub fn routes(grant: &Grant) -> Routes {
    let (tokens, consents) = (&grant.tokens, &grant.consents);
    let start = StartPage::new(consents.clone(), tokens.clone());
    let protected = Router::new()
        .route("/oauth/google/start", get_service(start))
        .route("/oauth/google", get(show))
        .route("/oauth/google/disconnect", post(disconnect))
        .with_state(tokens.clone());
    // The callback comes from another site, so it comes without the session's cookie. It shows the
    // state and a cookie of its own.
    let callback = CallbackPage::new(consents.clone(), [tokens.clone()]);
    Routes { open: Router::new().route("/oauth/google/callback", get_service(callback)), protected }
}

async fn show(State(tokens): State<TokenSource>) -> Json<Value> {
    let status = tokens.status();
    let (state, why) = match &status.state {
        GrantState::Fresh => ("fresh", None),
        GrantState::Refreshing => ("refreshing", None),
        GrantState::Failing => ("failing", status.last_failure.clone()),
        GrantState::Misconfigured => ("misconfigured", status.last_failure.clone()),
        GrantState::NeedsConsent(ending) => ("needs_consent", Some(ending.to_string())),
        _ => ("unknown", None),
    };
    let ms = |at: Option<Timestamp>| at.map(Timestamp::unix_ms);
    Json(json!({
        "state": state, "why": why, "account": status.account.as_ref().and_then(|account| account.email.as_deref()),
        "scopes": status.scopes, "unsaved": status.unsaved, "failures": status.failures,
        "refreshed_at_ms": ms(status.refreshed_at), "attempted_at_ms": ms(status.attempted_at),
        "expires_at_ms": ms(status.expires_at), "consented_at_ms": ms(status.consented_at),
        "consent_ends_at_ms": ms(status.consent_ends_at), "clock_skew_ms": status.clock_skew_ms,
        "age_seconds": status.age(SystemClock.now()).map(|age| age.as_secs()),
    }))
}

async fn disconnect(State(tokens): State<TokenSource>) -> Response {
    match tokens.disconnect().await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()).into_response(),
    }
}
