//! Settings of a voice session.

use std::time::Duration;

use livos_core::{
    conversation::{ConversationId, Speaker},
    user::UserId,
};

use super::answer::opener::OpenerConfig;
use crate::{tts::chunk::ChunkConfig, turn::TurnConfig, vad::DetectorConfig};

/// Settings of one session. Every default says why.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionConfig {
    /// The conversation, when the client continues none.
    pub conversation: ConversationId,
    /// Who speaks, as the server knows it.
    pub speaker: Speaker,
    /// Whose usage the answers are booked as.
    pub payer: UserId,
    /// Names of the providers that are simulated, for the page to show. None by default.
    pub simulated: Vec<String>,
    /// The times of turn taking.
    pub turn: TurnConfig,
    /// How scores of the server's detector become speech.
    pub detector: DetectorConfig,
    /// How answers are cut into pieces to speak.
    pub chunk: ChunkConfig,
    /// How much audio may be sent ahead of the listener. 30 s: enough to ride out a stalled
    /// network, and what an interruption throws away stays small.
    pub max_audio_ahead: Duration,
    /// How long the responder may say nothing before it has failed. 60 s: longer than any tool that
    /// a listener would wait for.
    pub responder_patience: Duration,
    /// How long a listener with nothing left to hear waits for the synthesiser before the answer
    /// comes as text. 6 s: two reconnects with their backoff and the text sent again.
    pub voice_patience: Duration,
    /// How long a drain lets the answer under way go on. 5 s: most answers end within it, and a
    /// restart does not wait longer.
    pub drain_patience: Duration,
    /// What is said in the agent's voice while a spoken turn waits for its answer.
    pub opener: OpenerConfig,
    /// What is said when the responder fails before it said anything.
    pub apology: String,
}

impl SessionConfig {
    /// The defaults, for a new conversation with this speaker, at this user's expense.
    pub fn new(conversation: ConversationId, speaker: Speaker, payer: UserId) -> Self {
        Self {
            conversation,
            speaker,
            payer,
            simulated: Vec::new(),
            turn: TurnConfig::default(),
            detector: DetectorConfig::default(),
            chunk: ChunkConfig::default(),
            max_audio_ahead: Duration::from_secs(30),
            responder_patience: Duration::from_secs(60),
            voice_patience: Duration::from_secs(6),
            drain_patience: Duration::from_secs(5),
            opener: OpenerConfig::default(),
            apology: "Sorry, I cannot answer just now.".to_owned(),
        }
    }
}

livos_core::with_fields!(SessionConfig {
    with_simulated => simulated: Vec<String>,
    with_turn => turn: TurnConfig,
    with_detector => detector: DetectorConfig,
    with_chunk => chunk: ChunkConfig,
    with_max_audio_ahead => max_audio_ahead: Duration,
    with_responder_patience => responder_patience: Duration,
    with_voice_patience => voice_patience: Duration,
    with_drain_patience => drain_patience: Duration,
    with_opener => opener: OpenerConfig,
    with_apology => apology: impl Into<String>,
});
