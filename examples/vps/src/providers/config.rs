//! The sections `[deepgram]`, `[cartesia]`, `[anthropic]` and `[twins]`.

use std::time::Duration;

use livos_agent::model::anthropic::AnthropicConfig;
use livos_core::secret::Secret;
use livos_twins::{
    Profile,
    all::{HearingChoice, VoiceChoice},
};
use livos_voice::{
    stt::deepgram::{FluxConfig, ListenConfig},
    tts::cartesia::CartesiaConfig,
};
use serde::Deserialize;

use crate::{
    accounts::Models,
    config::{ConfigError, Document, Environment, Section, optional_duration, parsed, provider_url},
};

/// The providers of a conversation.
pub struct ProvidersConfig {
    pub deepgram: DeepgramSection,
    pub cartesia: CartesiaSection,
    pub anthropic: AnthropicSection,
    pub twins: TwinsSection,
}

impl ProvidersConfig {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        Ok(Self {
            deepgram: document.section()?,
            cartesia: document.section()?,
            anthropic: document.section()?,
            twins: document.section()?,
        })
    }

    /// The models that are used. If none is configured, the client's own default counts.
    pub fn models(&self) -> Models {
        let absent = || Secret::new("");
        let hears = match self.deepgram.api {
            DeepgramApi::Listen => ListenConfig::default().model,
            DeepgramApi::Flux => FluxConfig::default().model,
        };
        let answers = || AnthropicConfig::new(absent()).model;
        let speaks = || CartesiaConfig::new(absent()).model;
        Models {
            answers: self.anthropic.model.clone().unwrap_or_else(answers),
            hears: self.deepgram.model.clone().unwrap_or(hears),
            speaks: self.cartesia.model.clone().unwrap_or_else(speaks),
        }
    }
}

/// Speech to text by Deepgram, or a server that speaks its protocol. What is not set is the
/// client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeepgramSection {
    /// The key; `DEEPGRAM_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `wss://…`, or `ws://…` on loopback; `DEEPGRAM_URL` overrides it.
    pub url: Option<String>,
    /// `listen` (v1, the default) or `flux` (v2, the provider judges turns).
    pub api: DeepgramApi,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The language, as a BCP 47 tag.
    pub language: Option<String>,
    /// Words to listen for.
    pub keyterms: Vec<String>,
    /// How long to wait for the last words of a turn.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_timeout: Option<Duration>,
    /// Silence after which a keep-alive is sent.
    #[serde(deserialize_with = "optional_duration")]
    pub keep_alive_interval: Option<Duration>,
    /// Audio sent without any answer after which one is due.
    #[serde(deserialize_with = "optional_duration")]
    pub answer_due_after: Option<Duration>,
    /// An answer is due and nothing came for this long: the connection is replaced.
    #[serde(deserialize_with = "optional_duration")]
    pub mute_after: Option<Duration>,
    /// Silence that marks a new connection as used, at its price; for a provider that closes unused
    /// ones and takes long to open another.
    #[serde(deserialize_with = "optional_duration")]
    pub opening_silence: Option<Duration>,
    /// How much speech is kept in case the connection breaks.
    #[serde(deserialize_with = "optional_duration")]
    pub retained: Option<Duration>,
    /// How long a proper close may take.
    #[serde(deserialize_with = "optional_duration")]
    pub close_timeout: Option<Duration>,
    /// The first wait before connecting again; each is twice the one before.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_first: Option<Duration>,
    /// The longest wait before connecting again.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_longest: Option<Duration>,
}

impl Section for DeepgramSection {
    const NAME: &'static str = "deepgram";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.api_key, "DEEPGRAM_API_KEY");
        environment.text(&mut self.url, "DEEPGRAM_URL");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.url.as_ref().map_or(Ok(()), |url| provider_url("deepgram.url", url, "wss", "ws").map(drop))
    }
}

/// Which of Deepgram's two streaming interfaces is used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeepgramApi {
    #[default]
    Listen,
    Flux,
}

/// Text to speech by Cartesia, or a server that speaks its protocol. What is not set is the
/// client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CartesiaSection {
    /// The key; `CARTESIA_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `wss://…`, or `ws://…` on loopback; `CARTESIA_URL` overrides it.
    pub url: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    pub voice: Option<String>,
    /// The language, as a BCP 47 tag.
    pub language: Option<String>,
    /// How long the provider may gather text before it speaks.
    #[serde(deserialize_with = "optional_duration")]
    pub max_buffer_delay: Option<Duration>,
    /// Text was sent and nothing came for this long: the connection is replaced.
    #[serde(deserialize_with = "optional_duration")]
    pub mute_after: Option<Duration>,
    /// An idle connection is replaced after this long.
    #[serde(deserialize_with = "optional_duration")]
    pub recycle_after: Option<Duration>,
    /// A pause after which further text goes into a new context.
    #[serde(deserialize_with = "optional_duration")]
    pub context_idle: Option<Duration>,
    /// The wait before a failed context is tried again.
    #[serde(deserialize_with = "optional_duration")]
    pub retry_delay: Option<Duration>,
    /// The first wait before connecting again; each is twice the one before.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_first: Option<Duration>,
    /// The longest wait before connecting again.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_longest: Option<Duration>,
}

impl Section for CartesiaSection {
    const NAME: &'static str = "cartesia";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.api_key, "CARTESIA_API_KEY");
        environment.text(&mut self.url, "CARTESIA_URL");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.url.as_ref().map_or(Ok(()), |url| provider_url("cartesia.url", url, "wss", "ws").map(drop))
    }
}

/// The model by Anthropic, or a server that speaks its protocol. What is not set is the client's
/// own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnthropicSection {
    /// The key; `ANTHROPIC_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `https://…`, or `http://…` on loopback; `ANTHROPIC_BASE_URL` overrides it.
    pub url: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The most tokens of one answer.
    pub max_tokens: Option<u32>,
    /// What the agent is told about itself.
    pub system: Option<String>,
    /// Nothing came after the request for this long: it failed.
    #[serde(deserialize_with = "optional_duration")]
    pub first_event_timeout: Option<Duration>,
    /// Nothing came in the middle of an answer for this long: it failed.
    #[serde(deserialize_with = "optional_duration")]
    pub idle_timeout: Option<Duration>,
}

impl Section for AnthropicSection {
    const NAME: &'static str = "anthropic";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.api_key, "ANTHROPIC_API_KEY");
        environment.text(&mut self.url, "ANTHROPIC_BASE_URL");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.url.as_ref().map_or(Ok(()), |url| provider_url("anthropic.url", url, "https", "http").map(drop))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TwinsSection {
    /// How long they take: `zero`, or `seed` for the delays of real providers. `seed`: a demo
    /// should feel like the real thing.
    #[serde(deserialize_with = "parsed")]
    pub profile: Profile,
    /// The seed of everything random in them.
    pub seed: u64,
    /// How the recogniser hears: `auto`, `sphinx` or `script`.
    #[serde(deserialize_with = "parsed")]
    pub hearing: HearingChoice,
    /// How the voice speaks: `auto`, `flite` or `tones`.
    #[serde(deserialize_with = "parsed")]
    pub voice: VoiceChoice,
}

impl Default for TwinsSection {
    fn default() -> Self {
        Self {
            profile: Profile::Seed,
            seed: 1,
            hearing: HearingChoice::default(),
            voice: VoiceChoice::default(),
        }
    }
}

impl Section for TwinsSection {
    const NAME: &'static str = "twins";
}
