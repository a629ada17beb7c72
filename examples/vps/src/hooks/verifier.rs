//! How each provider signs.

use std::sync::Arc;

use livos_integrations::webhook::{
    Discord, GitHub, GitLab, Hmac, HmacConfig, Linear, PubSub, PubSubConfig, Shopify, Slack,
    StandardWebhooks, Stripe, Svix, Telegram, Twilio, Verifier,
    jwks::{Jwks, JwksConfig},
};
use tower::BoxError;

use super::config::{Webhook, WebhookProvider};
use crate::http;

/// The verifier of an endpoint. `google` is a stand-in for Google, whose keys are shared in `keys`.
pub fn verifier(
    endpoint: &Webhook,
    keys: &mut Option<Jwks>,
    google: Option<&str>,
) -> Result<Arc<dyn Verifier>, BoxError> {
    let secrets = endpoint.secrets.iter().cloned();
    let public = || endpoint.secrets.iter().map(|key| key.expose().to_owned());
    let needed = |field: &'static str, value: &Option<String>| {
        value.clone().ok_or_else(|| BoxError::from(format!("{field} is missing")))
    };
    Ok(match endpoint.provider {
        WebhookProvider::Github => Arc::new(GitHub::new(secrets)?),
        WebhookProvider::Stripe => Arc::new(Stripe::new(secrets)?),
        WebhookProvider::Standard => Arc::new(StandardWebhooks::new(secrets)?),
        WebhookProvider::Svix => Arc::new(Svix::new(secrets)?),
        WebhookProvider::Slack => Arc::new(Slack::new(secrets)?),
        WebhookProvider::Discord => Arc::new(Discord::interactions(public())?),
        WebhookProvider::DiscordEvents => Arc::new(Discord::events(public())?),
        WebhookProvider::Twilio => Arc::new(Twilio::new(secrets, &needed("url", &endpoint.url)?)?),
        WebhookProvider::Shopify => Arc::new(Shopify::new(secrets)?),
        WebhookProvider::Gitlab => Arc::new(GitLab::signed(secrets)?),
        WebhookProvider::GitlabToken => Arc::new(GitLab::token(secrets)?),
        WebhookProvider::Linear => Arc::new(Linear::new(secrets)?),
        WebhookProvider::Telegram => Arc::new(Telegram::new(secrets)?),
        WebhookProvider::Pubsub | WebhookProvider::Gmail => {
            let config =
                PubSubConfig::new(needed("audience", &endpoint.audience)?, needed("email", &endpoint.email)?);
            let keys = match keys {
                Some(keys) => keys.clone(),
                None => keys.insert(google_keys(google)?).clone(),
            };
            Arc::new(PubSub::new(config, keys)?)
        }
        WebhookProvider::Hmac => {
            let header = needed("signature_header", &endpoint.signature_header)?;
            let mut config = HmacConfig::new(endpoint.name.clone(), header);
            config.id_header.clone_from(&endpoint.id_header);
            config.timestamp_header.clone_from(&endpoint.timestamp_header);
            config.prefix = endpoint.prefix.clone().unwrap_or_default();
            if let Some(signed) = &endpoint.signed {
                config.signed.clone_from(signed);
            }
            Arc::new(Hmac::new(config, secrets)?)
        }
    })
}

/// Google's keys. None is fetched before a message needs it.
fn google_keys(google: Option<&str>) -> Result<Jwks, BoxError> {
    let mut config = JwksConfig::default();
    if let Some(url) = google {
        config.url = format!("{}/oauth2/v3/certs", url.trim_end_matches('/')).parse()?;
    }
    Ok(Jwks::new(config, livos_core::http::HttpClient::new::<http::Https, _, _>(http::client()?)))
}
