//! The other way in: Telegram calls us.
//!
//! A webhook and a poller exclude each other, and both make the same jobs under the same keys, so
//! that a bot can be switched from one to the other without losing or doubling anything.
//! <https://core.telegram.org/bots/api#setwebhook>

#[cfg(feature = "webhook")]
use std::sync::Arc;

use http::Uri;
use livos_core::secret::Secret;
#[cfg(feature = "webhook")]
use livos_core::{queue::Queue, time::Clock};
use serde_json::json;

#[cfg(feature = "webhook")]
use super::job::delivered;
use super::{Bot, TelegramError};
#[cfg(feature = "webhook")]
use crate::webhook::{self, Enqueue, Intake, InvalidSecret, VerifyConfig};

/// What Telegram is told of our webhook.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WebhookConfig {
    /// Where it calls: `https`, on port 443, 80, 88 or 8443.
    pub url: Uri,
    /// What it proves itself by: 1 to 256 of `A-Z`, `a-z`, `0-9`, `_` and `-`.
    pub secret: Secret,
    /// Calls at one time, 1 to 100. 8: each is one write, and a small server has better things to
    /// do.
    pub max_connections: u8,
    /// The kinds of updates that are sent to us, as of a poller.
    pub allowed_updates: Vec<String>,
    /// Whether a webhook with another address is replaced. False: it may be another server's, and
    /// its updates would be stolen.
    pub replace: bool,
}

impl WebhookConfig {
    /// A webhook at `url` that is proved by `secret`.
    pub fn new(url: Uri, secret: Secret) -> Self {
        Self {
            url,
            secret,
            max_connections: 8,
            allowed_updates: super::PollerConfig::default().allowed_updates,
            replace: false,
        }
    }
}

/// The webhook was not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotEnabled {
    /// The secret is not of the form that Telegram takes.
    #[error("a secret token is 1 to 256 letters, digits, '_' and '-'")]
    Secret,
    /// Another one is set, and may be somebody else's.
    #[error("a webhook on {host} is set; say that it may be replaced, or delete it")]
    Taken {
        /// Where it leads; the rest of its address may be secret.
        host: String,
    },
    /// The call failed.
    #[error("the webhook could not be set")]
    Telegram(#[from] TelegramError),
}

impl Bot {
    /// Lets Telegram call us from now on, and ends every poller of this bot with 409. What waits is
    /// delivered.
    pub async fn enable_webhook(&self, config: &WebhookConfig) -> Result<(), NotEnabled> {
        if !is_secret_token(config.secret.expose()) {
            return Err(NotEnabled::Secret);
        }
        let url = config.url.to_string();
        let known = self.webhook_info().await?.url;
        if !known.is_empty() && known != url && !config.replace {
            let host = known.parse::<Uri>().ok().and_then(|known| known.host().map(str::to_owned));
            return Err(NotEnabled::Taken { host: host.unwrap_or_else(|| "an unknown host".into()) });
        }
        let parameters = json!({
            "url": url, "secret_token": config.secret.expose(), "max_connections": config.max_connections.clamp(1, 100),
            "allowed_updates": config.allowed_updates, "drop_pending_updates": false,
        });
        self.call::<bool>("setWebhook", &parameters).await?;
        Ok(())
    }
}

fn is_secret_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=256).contains(&text.len()) && text.bytes().all(allowed)
}

/// The endpoint of a bot's webhook, by any of these secrets ([`WebhookConfig::secret`]).
///
/// Updates become the jobs that a poller makes, under the same keys. Telegram hears 200 once an
/// update is durable, and 503 while the queue takes nothing, upon which it tries again for a day.
#[cfg(feature = "webhook")]
pub fn updates<C: Clock + Clone>(
    bot: &Bot,
    secrets: impl IntoIterator<Item = Secret>,
    queue: Arc<dyn Queue>,
    clock: C,
) -> Result<Intake<C>, InvalidSecret> {
    let (verifier, bot) = (webhook::Telegram::new(secrets)?, bot.id());
    let enqueue = Enqueue::by(queue, clock.clone(), move |_, delivery| delivered(bot, delivery));
    Ok(webhook::intake_by(Arc::new(verifier), clock, enqueue, VerifyConfig::default()))
}
