//! What a bot is told about its server, each default with its reason.

use std::time::Duration;

use http::Uri;
use livos_core::secret::Secret;

/// Configuration of a [`super::Bot`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TelegramConfig {
    /// `https://api.telegram.org`, or any server of the same protocol, such as one's own Bot API
    /// server. A path, if any, stands before `/bot`.
    pub base_url: Uri,
    /// The bot's token, as BotFather gave it.
    pub token: Secret,
    /// How long a call may take. 15 s: a healthy server answers within one, and a person waits for
    /// it.
    pub timeout: Duration,
    /// How long a download may take. A minute: 20 MB over a slow line.
    pub download_timeout: Duration,
}

impl TelegramConfig {
    /// The provider's own server, with `token`.
    pub fn new(token: Secret) -> Self {
        Self {
            base_url: Uri::from_static("https://api.telegram.org"),
            token,
            timeout: Duration::from_secs(15),
            download_timeout: Duration::from_secs(60),
        }
    }

    /// The number of the bot, if the token is well formed.
    pub(super) fn validate(&self) -> Result<i64, InvalidTelegramConfig> {
        let malformed = InvalidTelegramConfig("the token is not of the form 123456:letters");
        let (id, key) = self.token.expose().split_once(':').ok_or(malformed)?;
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if key.len() < 10 || !key.bytes().all(allowed) || !id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed);
        }
        if self.base_url.scheme().is_none() || self.base_url.query().is_some() {
            return Err(InvalidTelegramConfig("the base URL is not absolute, or has a query"));
        }
        id.parse().map_err(|_| malformed)
    }
}

/// The configuration can't be used. The token is not in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("telegram: {0}")]
pub struct InvalidTelegramConfig(pub(super) &'static str);
