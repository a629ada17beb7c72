//! What the client is told, each default with its reason.

use std::time::Duration;

use http::Uri;
use livos_core::secret::Secret;

/// Configuration of an [`super::Anthropic`] client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct AnthropicConfig {
    /// `https://api.anthropic.com`, or any wire-compatible server. A path, if any, stands before
    /// `/v1/messages`.
    pub base_url: Uri,
    /// The API key, sent as `x-api-key`.
    pub key: Secret,
    /// `claude-haiku-4-5`: the lowest time to the first token of the family, and the tail is what a
    /// listener waits for.
    pub model: String,
    /// The most tokens of one answer. 1024: some minutes of speech.
    pub max_tokens: u32,
    /// What the agent is told about itself. Kept the same from request to request, for the
    /// provider's prompt cache.
    pub system: String,
    /// Added to `system` for answers that are spoken.
    pub voice_style: String,
    /// Nothing came after the request for this long: it failed. 10 s: three times the slowest first
    /// token that was measured.
    pub first_event_timeout: Duration,
    /// Nothing came in the middle of an answer for this long: it failed. 10 s: the provider sends
    /// pings while it is busy.
    pub idle_timeout: Duration,
}

livos_core::with_fields!(AnthropicConfig {
    with_base_url => base_url: Uri,
    with_model => model: impl Into<String>,
    with_max_tokens => max_tokens: u32,
    with_system => system: impl Into<String>,
    with_voice_style => voice_style: impl Into<String>,
    with_first_event_timeout => first_event_timeout: Duration,
    with_idle_timeout => idle_timeout: Duration,
});

impl AnthropicConfig {
    /// The provider's own server, with `key`.
    pub fn new(key: Secret) -> Self {
        Self {
            base_url: Uri::from_static("https://api.anthropic.com"),
            key,
            model: "claude-haiku-4-5".into(),
            max_tokens: 1024,
            system: "You are LivOS, a personal assistant on the user's own server. Be accurate and brief.".into(),
            voice_style: "Your answer is spoken aloud: plain sentences, no lists, no markup, no emoji. Begin with a short clause of at \
                          most six words that answers the question, then the detail, in three sentences at the most."
                .into(),
            first_event_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(10),
        }
    }

    pub(super) fn validate(&self) -> Result<(), InvalidConfig> {
        if self.model.trim().is_empty() {
            return Err(InvalidConfig("model must not be empty"));
        }
        if self.max_tokens == 0 {
            return Err(InvalidConfig("max_tokens must be at least 1"));
        }
        if http::HeaderValue::from_str(self.key.expose()).is_err() {
            return Err(InvalidConfig("the key holds characters that a header can't"));
        }
        Ok(())
    }
}

/// The configuration can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("anthropic: {0}")]
pub struct InvalidConfig(pub(super) &'static str);
