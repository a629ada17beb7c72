//! The sections `[[webhooks]]`.

use livos_core::{queue::JobKind, secret::Secret};
use serde::Deserialize;

use crate::config::{ConfigError, Section};

/// The endpoints of webhooks.
#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct WebhooksSection(pub Vec<Webhook>);

impl Section for WebhooksSection {
    const NAME: &'static str = "webhooks";

    fn validate(&self) -> Result<(), ConfigError> {
        let mut names: Vec<&str> = Vec::new();
        for endpoint in &self.0 {
            endpoint.kind()?;
            let name = endpoint.name.as_str();
            if names.contains(&name) {
                return Err(ConfigError::of("webhooks", format!("two have the name {name:?}")));
            }
            names.push(name);
        }
        Ok(())
    }
}

/// An endpoint of webhooks, at `/hooks/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name in the path and in the kind of its jobs: 1 to 48 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    pub provider: WebhookProvider,
    /// The active secrets, at most four; for Discord the application's public key. Pub/Sub has
    /// none.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// What the agent is told to do with a delivery, which it reads as text from outside.
    #[serde(default = "Webhook::task")]
    pub task: String,
    /// For Twilio: the URL that is configured there, without its query.
    #[serde(default)]
    pub url: Option<String>,
    /// For Pub/Sub and Gmail: the subscription's audience.
    #[serde(default)]
    pub audience: Option<String>,
    /// For Pub/Sub and Gmail: the account that the subscription signs with.
    #[serde(default)]
    pub email: Option<String>,
    /// For `hmac`: where the signature is.
    #[serde(default)]
    pub signature_header: Option<String>,
    /// For `hmac`: what stands before the signature in its header.
    #[serde(default)]
    pub prefix: Option<String>,
    /// For `hmac`: where the id is.
    #[serde(default)]
    pub id_header: Option<String>,
    /// For `hmac`: where the time is.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// For `hmac`: what is signed, such as `{timestamp}.{body}`; the body alone where absent.
    #[serde(default)]
    pub signed: Option<String>,
}

impl Webhook {
    /// The kind of its jobs.
    pub fn kind(&self) -> Result<JobKind, ConfigError> {
        kind(&self.name)
    }

    fn task() -> String {
        "A service reported an event. Say in one or two sentences what happened and whether anything is to be done.".into()
    }
}

/// Who sends webhooks, and by which scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The names say it.
pub enum WebhookProvider {
    Github,
    Stripe,
    Standard,
    Svix,
    Slack,
    Discord,
    DiscordEvents,
    Twilio,
    Shopify,
    Gitlab,
    GitlabToken,
    Linear,
    Telegram,
    Pubsub,
    /// Pub/Sub too; what it pushes wakes the watch of the mailbox, and is not handed to the agent.
    Gmail,
    Hmac,
}

fn kind(name: &str) -> Result<JobKind, ConfigError> {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    let sound = !name.is_empty() && name.len() <= 48 && name.chars().all(plain);
    let kind = sound.then(|| JobKind::try_from(format!("webhook.{name}")).ok()).flatten();
    kind.ok_or_else(|| {
        ConfigError::of("webhooks", format!("the name {name:?} is not 1 to 48 of a-z, 0-9, - and _"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_path_is_refused() {
        assert!(kind("github-main").is_ok());
        for bad in ["", "a/b", "A", "a.b", &"x".repeat(49)] {
            assert!(kind(bad).is_err(), "{bad:?}");
        }
    }
}
