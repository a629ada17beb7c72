//! Grants that stay: OAuth 2.0 from the consent of a person to the day on which the provider ends
//! it (P-11).
//!
//! The platform that LivOS replaces found out that a token could not be renewed when a message was
//! lost. Here each grant has a keeper. It renews the token early and at least every half hour, in
//! one process at a time. It saves the new token before anybody uses it, and tells a person once
//! when a new consent is needed.
//!
//! | piece | what it does |
//! | --- | --- |
//! | [`ProviderConfig`], [`google`] | where the provider is, and who this client is to it |
//! | [`Consents`], [`StartPage`], [`CallbackPage`] | the consent: PKCE, a state for one use, a callback in any process |
//! | [`TokenEndpoint`], [`read_answer`] | the requests, and what their answers mean |
//! | [`GrantLifecycle`] | the decisions, without a clock or a socket |
//! | [`open`], [`TokenSource`] | the keeper of a grant, and where its tokens come from |
//! | [`BearerLayer`] | API calls that carry the token |
//!
//! Tokens lie in a [`SealedStore`](livos_core::seal::SealedStore) and nowhere else.
//!
//! # Example
//!
//! ```
//! use std::sync::Arc;
//!
//! use livos_core::{
//!     embedded::{Embedded, EmbeddedConfig},
//!     http::HttpClient,
//!     seal::{KeyRing, SealedStore},
//!     secret::Secret,
//!     store::EmbeddedStore,
//!     time::SystemClock,
//! };
//! use livos_integrations::oauth::{self, BearerLayer, Consents, KeeperConfig, Notice, TokenEndpoint, google};
//! use tower::{Layer, service_fn};
//!
//! # async fn example(https: HttpClient) -> Result<(), Box<dyn std::error::Error>> {
//! let file = Embedded::open("livos.redb", EmbeddedConfig::default())?;
//! let store = SealedStore::new(Arc::new(EmbeddedStore::new(file)), KeyRing::generate()?);
//! let clock = Arc::new(SystemClock);
//! let secret = Secret::new("GOCSPX-…");
//! let callback = "https://livos.example/oauth/google/callback";
//! let provider = google::provider("id.apps.googleusercontent.com", secret, callback, &[google::GMAIL_MODIFY]);
//! let endpoint = TokenEndpoint::new(provider, https.clone())?;
//!
//! let mut config = KeeperConfig::new("google/owner", "https://livos.example/oauth/google/start");
//! config.lifecycle = oauth::LifecycleConfig::google();
//! let alerts = service_fn(|notice: Notice| async move {
//!     tracing::error!("{notice}");
//!     Ok::<_, std::convert::Infallible>(())
//! });
//! let (tokens, keeper) = oauth::open(config, store.clone(), endpoint.clone(), clock.clone(), alerts)?;
//! tokio::spawn(keeper);
//!
//! // The consent, from a page of the server.
//! let consents = Consents::new(endpoint, store, clock);
//! let start = oauth::StartPage::new(consents.clone(), tokens.clone());
//! let callback = oauth::CallbackPage::new(consents, [tokens.clone()]);
//!
//! // And then API calls.
//! let gmail = BearerLayer::new(tokens, ["gmail.googleapis.com"]).layer(https);
//! # Ok(())
//! # }
//! ```

mod alert;
mod answer;
mod config;
mod consent;
mod error;
mod exchange;
pub mod google;
mod grant;
mod keeper;
mod layer;
mod machine;
mod provider;
mod routes;
#[cfg(test)]
mod tests;

pub use self::{
    alert::{Alert, Notice},
    answer::read_answer,
    config::LifecycleConfig,
    consent::{Begun, ConsentError, Consents, Finished, FinishedBy, PATIENCE, PENDING},
    error::{Ending, EndpointError, TokenError},
    exchange::TokenEndpoint,
    grant::{AccessToken, Account, GrantState, GrantStatus, Record, Tokens},
    keeper::{GRANTS, KeeperConfig, KeeperError, TokenSource, open},
    layer::{Bearer, BearerError, BearerLayer, Replay},
    machine::{Expected, GrantInput, GrantLifecycle, GrantOutput, TokenAccess},
    provider::{ClientAuth, InvalidProvider, ProviderConfig},
    routes::{COOKIE, CallbackPage, StartPage},
};
