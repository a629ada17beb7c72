//! The sections `[google]` and `[gmail]`.

use livos_core::{queue::JobKind, secret::Secret};
use serde::Deserialize;

use crate::{
    channels::ChannelsConfig,
    config::{ConfigError, Document, Environment, Section, provider_url},
    hooks::{Webhook, WebhookProvider, WebhooksSection},
};

/// Access to a Google account, through an OAuth client of the web kind whose redirect URI is
/// `{public_url}/oauth/google/callback`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoogleSection {
    /// The client's id; `GOOGLE_CLIENT_ID` overrides it. Without it there is no access.
    pub client_id: Option<String>,
    /// The client's secret; `GOOGLE_CLIENT_SECRET` overrides it.
    pub client_secret: Option<Secret>,
    /// Whether the consent screen is in testing: a consent lasts seven days then, and its end is
    /// told two days ahead.
    pub testing: bool,
    /// `https://…` or `http://…` on loopback, in the place of Google: a twin; `GOOGLE_URL`
    /// overrides it.
    pub url: Option<String>,
}

/// The mailbox of the Google account.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GmailSection {
    /// Whether the owner is told, in the chats that are paired with the owner's rights, of each
    /// mail that comes into the inbox.
    pub watch: bool,
    /// The Pub/Sub topic to which Gmail publishes, as `projects/P/topics/T`, in the project of the
    /// OAuth client; its subscription pushes to a webhook of the provider `gmail`. Without it the
    /// mailbox is looked at every five minutes.
    pub topic: Option<String>,
    /// `https://…` or `http://…` on loopback, in the place of Gmail: a twin.
    pub url: Option<String>,
}

impl Section for GoogleSection {
    const NAME: &'static str = "google";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.text(&mut self.client_id, "GOOGLE_CLIENT_ID");
        environment.secret(&mut self.client_secret, "GOOGLE_CLIENT_SECRET");
        environment.text(&mut self.url, "GOOGLE_URL");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        if self.client_id.is_some() != self.client_secret.is_some() {
            return Err(ConfigError::of("google", "set client_id and client_secret, or neither"));
        }
        self.url.as_ref().map_or(Ok(()), |url| provider_url("google.url", url, "https", "http").map(drop))
    }
}

impl Section for GmailSection {
    const NAME: &'static str = "gmail";

    fn validate(&self) -> Result<(), ConfigError> {
        self.url.as_ref().map_or(Ok(()), |url| provider_url("gmail.url", url, "https", "http").map(drop))
    }
}

/// Access to a Google account, and what it is used for.
pub struct GoogleConfig {
    /// Access to the account.
    pub google: GoogleSection,
    pub gmail: GmailSection,
    /// Whether the owner can be told anything in a chat.
    pub tells: bool,
    /// The kind of the jobs of Gmail's pushes, if it pushes.
    pub pushes: Option<JobKind>,
}

impl GoogleConfig {
    /// Reads the sections, and those that the mailbox depends on.
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        let (google, gmail): (GoogleSection, GmailSection) = (document.section()?, document.section()?);
        let tells = ChannelsConfig::read(document)?.is_any();
        let WebhooksSection(hooks) = document.section()?;
        let hooks: Vec<_> = hooks.iter().filter(|hook| hook.provider == WebhookProvider::Gmail).collect();
        if let Some(why) = missing(&google, &gmail, tells, hooks.len()) {
            return Err(ConfigError(format!("gmail.{why}")));
        }
        let pushes = hooks.first().copied().map(Webhook::kind).transpose()?;
        Ok(Self { google, gmail, tells, pushes })
    }
}

/// What the mailbox lacks.
fn missing(google: &GoogleSection, gmail: &GmailSection, tells: bool, hooks: usize) -> Option<&'static str> {
    if gmail.watch && google.client_id.is_none() {
        Some("watch: needs a client under [google]")
    } else if gmail.watch && !tells {
        Some("watch: nobody could be told: set a token under [telegram] or [discord]")
    } else if gmail.topic.is_some() && !gmail.watch {
        Some("topic: is only read if watch is true")
    } else if gmail.topic.is_some() && hooks != 1 {
        Some(
            "topic: needs exactly one of [[webhooks]] with the provider \"gmail\", to which its subscription pushes",
        )
    } else if gmail.topic.is_none() && hooks > 0 {
        Some("topic: is missing, and webhooks of the provider \"gmail\" come through one")
    } else {
        None
    }
}
