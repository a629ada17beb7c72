//! The other way in: Telegram calls us.
//!
//! A webhook and a poller exclude each other, and both make the same jobs under the same keys, so
//! that a bot can be switched from one to the other without losing or doubling anything.
//! <https://core.telegram.org/bots/api#setwebhook>

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use livos_core::{
    queue::{Enqueued, Queue},
    secret::Secret,
    time::Clock,
};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{Bot, TelegramError, job};

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

/// Takes what Telegram delivers, and answers when it is durable. The caller bounds the body's size
/// before it reads it; an update has some kilobytes.
pub struct Receiver<C> {
    bot: i64,
    secret: Secret,
    queue: Arc<dyn Queue>,
    clock: C,
}

/// The header of the secret token.
const TOKEN: &str = "x-telegram-bot-api-secret-token";
/// When a full queue may be tried again. 30 s: minutes of work are in it.
const FULL: Duration = Duration::from_secs(30);

impl<C: Clock> Receiver<C> {
    /// A receiver for the webhook of `bot`; none where the secret is not one, as anybody could send
    /// then.
    pub fn new(bot: &Bot, secret: Secret, queue: Arc<dyn Queue>, clock: C) -> Result<Self, NotEnabled> {
        if !is_secret_token(secret.expose()) {
            return Err(NotEnabled::Secret);
        }
        Ok(Self { bot: bot.id(), secret, queue, clock })
    }

    /// Enqueues a delivery. 200 once it is durable, or was before; 401 without the secret; 400 for
    /// what is no update; 503 with `Retry-After` while the queue takes nothing, upon which Telegram
    /// tries again for a day.
    pub async fn receive(&self, headers: &HeaderMap, body: Bytes) -> Response<Bytes> {
        if !self.is_telegram(headers) {
            return answer(StatusCode::UNAUTHORIZED, None);
        }
        let Ok((_, job)) = job(self.bot, body) else { return answer(StatusCode::BAD_REQUEST, None) };
        match self.queue.enqueue(self.clock.now(), job).await {
            Ok(Enqueued::Enqueued(_) | Enqueued::Spilled | Enqueued::Duplicate(_)) => {
                answer(StatusCode::OK, None)
            }
            Ok(Enqueued::Full { .. }) => answer(StatusCode::SERVICE_UNAVAILABLE, Some(FULL)),
            Err(error) if error.is_temporary() => {
                tracing::error!(%error, "an update could not be enqueued, and will come again");
                answer(StatusCode::SERVICE_UNAVAILABLE, Some(FULL))
            }
            Err(error) => {
                tracing::error!(%error, "the queue does not take an update");
                answer(StatusCode::BAD_REQUEST, None)
            }
        }
    }

    /// The header must stand there once: of two, a proxy and this server might each read another.
    fn is_telegram(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(TOKEN).iter();
        match (all.next(), all.next()) {
            (Some(token), None) => token.as_bytes().ct_eq(self.secret.expose().as_bytes()).into(),
            _ => false,
        }
    }
}

impl<C> fmt::Debug for Receiver<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("bot", &self.bot).finish_non_exhaustive()
    }
}

fn answer(status: StatusCode, retry_after: Option<Duration>) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    if let Some(wait) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs()));
    }
    response
}
