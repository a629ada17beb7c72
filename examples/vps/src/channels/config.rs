//! The sections `[telegram]`, `[discord]` and `[pairing]`.

use livos_core::secret::Secret;
use livos_integrations::pairing::Policy;
use serde::Deserialize;

use crate::config::{ConfigError, Document, Environment, Section, provider_url};

/// The chat apps, and how people are paired in them.
pub struct ChannelsConfig {
    /// The bot in Telegram.
    pub telegram: ChatAppSection,
    /// The bot in Discord.
    pub discord: ChatAppSection,
    /// How people are paired.
    pub pairing: PairingSection,
}

impl ChannelsConfig {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        let TelegramSection(telegram) = document.section()?;
        let DiscordSection(discord) = document.section()?;
        Ok(Self { telegram, discord, pairing: document.section()? })
    }

    /// Whether there is a bot at all.
    pub fn is_any(&self) -> bool {
        self.telegram.token.is_some() || self.discord.token.is_some()
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct TelegramSection(ChatAppSection);

impl Section for TelegramSection {
    const NAME: &'static str = "telegram";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.0.token, "TELEGRAM_BOT_TOKEN");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate(Self::NAME)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(transparent)]
struct DiscordSection(ChatAppSection);

impl Section for DiscordSection {
    const NAME: &'static str = "discord";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.0.token, "DISCORD_TOKEN");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.0.validate(Self::NAME)
    }
}

/// A bot in a chat app.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatAppSection {
    /// The bot's token; `TELEGRAM_BOT_TOKEN` or `DISCORD_TOKEN` overrides it. Without it there is
    /// no bot.
    pub token: Option<Secret>,
    /// `https://…` or `http://…` on loopback, in the place of the provider: a twin, or one's own
    /// Bot API server.
    pub url: Option<String>,
    /// Whom the bot answers. `pairing`: nobody whom the operator has not let in.
    pub policy: Admission,
    /// With `allow_list`: the ids of people and groups, as the provider writes them. Names change
    /// hands and are no ids.
    pub allow: Vec<String>,
}

impl ChatAppSection {
    fn validate(&self, name: &str) -> Result<(), ConfigError> {
        if let Some(url) = &self.url {
            provider_url(&format!("{name}.url"), url, "https", "http")?;
        }
        if !self.allow.is_empty() && self.policy != Admission::AllowList {
            let why = "is only read if policy is \"allow_list\"";
            return Err(ConfigError::of(&format!("{name}.allow"), why));
        }
        Ok(())
    }

    /// The policy that is configured.
    pub fn policy(&self) -> Policy {
        match self.policy {
            Admission::Pairing => Policy::Pairing,
            Admission::AllowList => Policy::AllowList(self.allow.iter().cloned().collect()),
            Admission::Open => Policy::Open,
            Admission::Closed => Policy::Closed,
        }
    }
}

/// Whom a bot answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    #[default]
    Pairing,
    /// Who is paired, and who is listed.
    AllowList,
    Open,
    /// Nobody: what is written is dropped.
    Closed,
}

/// How people in chat apps are paired.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PairingSection {
    /// Whether the operator must also approve who came with a right code. Off: the code was the
    /// operator's word.
    pub approval: bool,
}

impl Section for PairingSection {
    const NAME: &'static str = "pairing";
}
