//! Access to Google: the pages of the consent, the keeper of the grant, and how it stands.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /oauth/google/start` | session or token | sends the browser to Google |
//! | `GET /oauth/google/callback` | the browser that began | takes it back |
//! | `GET /oauth/google` | session or token | how the grant stands, as JSON |
//! | `POST /oauth/google/disconnect` | session or token | gives it back |

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, get_service, post},
};
use http::StatusCode;
use livos_core::{
    seal::SealedStore,
    supervise::Supervisor,
    time::{Clock, SystemClock, Timestamp},
};
use livos_integrations::oauth::{
    self, CallbackPage, Consents, GrantState, KeeperConfig, LifecycleConfig, Notice, StartPage,
    TokenEndpoint, TokenSource, google,
};
use serde_json::{Value, json};
use tower::{BoxError, service_fn};

use crate::{
    config,
    https::{self, Https},
    news::News,
};

/// The id of the owner's grant in the store.
const GRANT: &str = "google/owner";

/// Access to the owner's Google account. Cloning shares it.
#[derive(Clone)]
pub struct Google {
    tokens: TokenSource,
    consents: Consents,
}

impl Google {
    /// Opens the grant and keeps it fresh, in a task of the supervisor. `base` is this server's
    /// address as browsers see it. None where no client is configured. Alerts go to the log, and to
    /// the owner where `news` reach anybody.
    pub fn open(
        config: &config::Google,
        base: &str,
        store: SealedStore,
        news: Option<News>,
        supervisor: &Supervisor,
    ) -> Result<Option<Self>, BoxError> {
        let (Some(client_id), Some(client_secret)) = (&config.client_id, &config.client_secret) else {
            return Ok(None);
        };
        let base = base.trim_end_matches('/');
        let callback = format!("{base}/oauth/google/callback");
        let mut provider =
            google::provider(client_id, client_secret.clone(), callback, &[google::GMAIL_MODIFY]);
        if let Some(url) = &config.url {
            provider = google::at(url, provider)?;
        }
        let endpoint = TokenEndpoint::new::<Https, _>(provider, https::client()?)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut keeper = KeeperConfig::new(GRANT, format!("{base}/oauth/google/start"));
        keeper.lifecycle =
            if config.testing { LifecycleConfig::google_testing() } else { LifecycleConfig::google() };
        let alerts = service_fn(move |notice: Notice| {
            let news = news.clone();
            async move {
                tracing::error!("{notice}");
                match news {
                    // The link is a page of this server behind its login. What could not be told is
                    // told again by the keeper.
                    Some(news) => news.tell(&notice.to_string(), None).await,
                    None => Ok(()),
                }
            }
        });
        let (tokens, keeper) =
            oauth::open(keeper, store.clone(), endpoint.clone(), Arc::clone(&clock), alerts)?;
        supervisor.spawn("google grant", keeper);
        Ok(Some(Self { tokens, consents: Consents::new(endpoint, store, clock) }))
    }

    /// Where access tokens come from.
    pub fn tokens(&self) -> TokenSource {
        self.tokens.clone()
    }

    /// The routes for whoever is logged in.
    pub fn protected<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let start = StartPage::new(self.consents.clone(), self.tokens.clone());
        Router::new()
            .route("/oauth/google/start", get_service(start))
            .route("/oauth/google", get(show))
            .route("/oauth/google/disconnect", post(disconnect))
            .with_state(self.tokens.clone())
    }

    /// The callback. It comes from another site, so the session's cookie is not with it: the state
    /// and a cookie of its own are what it shows.
    pub fn open_to_all<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let callback = CallbackPage::new(self.consents.clone(), [self.tokens.clone()]);
        Router::new().route("/oauth/google/callback", get_service(callback))
    }
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
