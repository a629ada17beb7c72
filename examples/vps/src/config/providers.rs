//! The providers of a conversation, those that stand in for them, and how turns are taken.

use std::time::Duration;

use livos_core::secret::Secret;
use serde::Deserialize;

use super::values::optional_duration;

/// Speech to text by Deepgram, or a server that speaks its protocol. What is not set is the
/// client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deepgram {
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

/// Which of Deepgram's two streaming interfaces is used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeepgramApi {
    /// `/v1/listen`.
    #[default]
    Listen,
    /// `/v2/listen`.
    Flux,
}

/// Text to speech by Cartesia, or a server that speaks its protocol. What is not set is the
/// client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cartesia {
    /// The key; `CARTESIA_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `wss://…`, or `ws://…` on loopback; `CARTESIA_URL` overrides it.
    pub url: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The voice's id.
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

/// The model by Anthropic, or a server that speaks its protocol. What is not set is the client's
/// own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Anthropic {
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

/// Turn taking and voice activity. What is not set is the pipeline's own default; each default is
/// explained at `livos_voice::turn::TurnConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voice {
    /// Silence after which a turn that looks finished is over.
    #[serde(deserialize_with = "optional_duration")]
    pub min_delay: Option<Duration>,
    /// Silence after which a turn is over however it looks.
    #[serde(deserialize_with = "optional_duration")]
    pub max_delay: Option<Duration>,
    /// Whether the model is asked while the silence that ends a turn is still waited for. Off,
    /// answers come later, and no call is made in vain.
    pub speculate: Option<bool>,
    /// Silence after which the recogniser is asked for its last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_after: Option<Duration>,
    /// How long to wait for the recogniser's last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_timeout: Option<Duration>,
    /// The same when the recogniser's connection broke during the turn.
    #[serde(deserialize_with = "optional_duration")]
    pub recovery_timeout: Option<Duration>,
    /// Speech over the agent's voice that is an interruption even without a recognised word.
    #[serde(deserialize_with = "optional_duration")]
    pub min_interruption: Option<Duration>,
    /// A pause of the agent's voice without a recognised word after which it goes on.
    #[serde(deserialize_with = "optional_duration")]
    pub false_interruption: Option<Duration>,
    /// The longest turn of the user.
    #[serde(deserialize_with = "optional_duration")]
    pub max_turn: Option<Duration>,
    /// Short sentences of which one is said where the answer is late, such as
    /// `["Let me see.", "One moment."]`. None by default: the first sound comes sooner, and an
    /// answer that comes while one is said waits for its end.
    pub openers: Vec<String>,
    /// How long after the end of the user's speech one is said, where nothing of the answer came.
    #[serde(deserialize_with = "optional_duration")]
    pub opener_after: Option<Duration>,
}

/// The simulated providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twins {
    /// How long they take: `zero`, or `seed` for the delays of real providers. `seed`: a demo
    /// should feel like the real thing.
    pub profile: String,
    /// The seed of everything random in them.
    pub seed: u64,
    /// How the recogniser hears: `auto`, `sphinx` or `script`.
    pub hearing: String,
    /// How the voice speaks: `auto`, `flite` or `tones`.
    pub voice: String,
}

impl Default for Twins {
    fn default() -> Self {
        Self { profile: "seed".into(), seed: 1, hearing: "auto".into(), voice: "auto".into() }
    }
}
