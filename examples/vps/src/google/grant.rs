//! The grant to the owner's Google account, and what keeps it fresh.

use std::sync::Arc;

use livos_core::{
    seal::SealedStore,
    time::{Clock, SystemClock},
};
use livos_integrations::oauth::{
    self, Consents, KeeperConfig, LifecycleConfig, Notice, TokenEndpoint, TokenSource, google,
};
use tower::{BoxError, service_fn};

use super::config::GoogleSection;
use crate::{
    channels::News,
    feature::Task,
    http::{self, Https},
};

/// The id of the owner's grant in the store.
const GRANT: &str = "google/owner";

/// Access to the owner's Google account.
pub struct Grant {
    /// Where access tokens come from.
    pub tokens: TokenSource,
    pub consents: Consents,
}

impl Grant {
    /// Opens the grant, with the task that keeps it fresh; `None` if no client is configured.
    /// `base` is this server's address as browsers see it. Alerts go to the log, and to the owner
    /// if `news` reach anybody.
    pub fn open(
        config: &GoogleSection,
        base: &str,
        store: SealedStore,
        news: Option<News>,
    ) -> Result<Option<(Self, Task)>, BoxError> {
        let (Some(client_id), Some(client_secret)) = (&config.client_id, &config.client_secret) else {
            return Ok(None);
        };
        let callback = format!("{base}/oauth/google/callback");
        let mut provider =
            google::provider(client_id, client_secret.clone(), callback, &[google::GMAIL_MODIFY]);
        if let Some(url) = &config.url {
            provider = google::at(url, provider)?;
        }
        let endpoint =
            TokenEndpoint::new(provider, livos_core::http::HttpClient::new::<Https, _, _>(http::client()?))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut keeper = KeeperConfig::new(GRANT, format!("{base}/oauth/google/start"));
        keeper.lifecycle =
            if config.testing { LifecycleConfig::google_testing() } else { LifecycleConfig::google() };
        let alerts = service_fn(move |notice: Notice| alert(notice, news.clone()));
        let (tokens, keeper) =
            oauth::open(keeper, store.clone(), endpoint.clone(), Arc::clone(&clock), alerts)?;
        let grant = Self { tokens, consents: Consents::new(endpoint, store, clock) };
        Ok(Some((grant, Task::once("google grant", keeper))))
    }
}

/// Tells of the grant. The link in it is a page of this server behind its login. The keeper tells
/// again what could not be told.
async fn alert(notice: Notice, news: Option<News>) -> Result<(), BoxError> {
    tracing::error!("{notice}");
    match news {
        Some(news) => news.tell(&notice.to_string(), None).await,
        None => Ok(()),
    }
}
