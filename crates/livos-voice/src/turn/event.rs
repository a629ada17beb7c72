//! What turn taking is told and what it decides.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{generation::Generation, stt::Transcript, vad::VadState};

/// How the user takes the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Audio counts only while the button is held. The default: an open microphone listens to the
    /// room (P-02).
    #[default]
    PushToTalk,
    /// Voice activity opens and closes the gate.
    OpenMicrophone,
}

/// An event that turn taking must know of.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TurnInput {
    /// The user chose another mode.
    Mode(Mode),
    /// The talk button went down.
    Pressed,
    /// The talk button went up.
    Released,
    /// The detector's state changed. `last_voiced` is when the last voiced audio was spoken, for
    /// `Stopping` and `Quiet`.
    Vad {
        /// What it reports now.
        state: VadState,
        /// When the last voiced frame came in; `None` before the first one.
        last_voiced: Option<Instant>,
    },
    /// Words from the recogniser.
    Transcript(Transcript),
    /// The recogniser has answered everything before the last finalize.
    Finalized,
    /// The recogniser's connection is up (true) or was lost (false). A turn during which it was
    /// lost waits longer for its words, because the audio is sent again.
    Recognising(bool),
    /// A provider that judges turns heard one begin.
    ProviderStartOfTurn,
    /// A provider that judges turns thinks that it may be over, with the whole turn so far.
    ProviderEagerEndOfTurn(String),
    /// The user went on after all.
    ProviderTurnResumed,
    /// A provider that judges turns says that it is over, with the whole turn.
    ProviderEndOfTurn(String),
    /// The user typed a message: a turn of its own, at once.
    Typed(String),
    /// The listener's player began to play this generation.
    PlayoutStarted(Generation),
    /// The listener's player has nothing more to play of it and no more will come.
    PlayoutEnded(Generation),
    /// The user pressed stop.
    Stop,
}

/// The user's turn as it is handed to the responder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The number of the reply that answers it.
    pub generation: Generation,
    /// What the user said.
    pub text: String,
    /// When the user stopped speaking: the last voiced audio, the release of the button, or the
    /// typed message's arrival.
    pub end_of_speech: Instant,
    /// How the user put it.
    pub origin: Origin,
}

/// How a turn reached the session. A typed turn is answered as text as well as aloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// By voice: what follows before the answer sounds is joined to it.
    Spoken,
    /// As a message; it is whole, so nothing said later is joined to it.
    Typed,
}

/// What turn taking decides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnOutput {
    /// Let audio through to the recogniser, pre-roll first.
    OpenGate,
    /// Let nothing through any more.
    CloseGate,
    /// Tell the recogniser that speech has ended.
    Finalize,
    /// Ask the responder provisionally; nothing of it may be heard until the same generation is
    /// committed.
    Speculate(Commit),
    /// The turn is over. Where the same generation was speculated with the same words, that reply
    /// becomes final. A turn that goes on before its answer is audible is committed again as a
    /// whole, after an `Interrupt` of the first answer.
    Commit(Commit),
    /// A speculation was wrong: drop it.
    Abandon(Generation),
    /// Drop everything of this generation and older; tell the reply what was heard.
    Interrupt(Generation),
    /// Hold playout, or its beginning: the user may be interrupting, or it may be noise.
    Pause(Generation),
    /// It was noise: go on playing.
    Resume(Generation),
    /// The user's turn ended and the recogniser did not answer, so what was said is not known.
    /// Should it answer within [`TurnConfig::unheard_patience`], the turn is committed after all.
    Unheard,
    /// The floor changed hands.
    State(TurnState),
}

/// Who holds the floor, as the page shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// Nobody holds it.
    #[default]
    Idle,
    /// The user speaks.
    Listening,
    /// The agent is preparing its answer.
    Thinking,
    /// The agent speaks.
    Speaking,
}

/// Times of turn taking. Every default says why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnConfig {
    /// Silence after which a turn that looks finished is over. 400 ms: shorter cuts people off in
    /// mid-sentence, longer is heard as slow.
    pub min_delay: Duration,
    /// Silence after which a turn is over however it looks. 1.5 s: a pause to think is rarely
    /// longer.
    pub max_delay: Duration,
    /// How long to wait for the recogniser's last words after a finalize. 600 ms: the 99th
    /// percentile of the reference provider is 326 ms plus the network.
    pub finalize_timeout: Duration,
    /// How long to wait for words when none have come yet or the connection broke during the turn.
    /// 6 s: two reconnects with their backoff and the replay of a sentence; giving up sooner would
    /// lose what was said.
    pub recovery_timeout: Duration,
    /// How long words that the recogniser could not be asked for may come late and still be
    /// answered. 30 s: a person who was told so may still wait for the answer then.
    pub unheard_patience: Duration,
    /// Silence after which the recogniser is asked for its last words. 200 ms: shorter cuts words
    /// apart, longer is added to every answer, because recognising takes about as long as is left
    /// of `min_delay`.
    pub finalize_after: Duration,
    /// Whether the responder is asked as soon as the recogniser has answered, while the silence
    /// that makes the end of a turn sure is still waited for. True: that silence then costs the
    /// listener nothing; where the user goes on after all, a model call was made for nothing. Words
    /// that are not final are no ground for asking: measured, the last ones are missing in most
    /// turns.
    pub speculate: bool,
    /// How often one turn may ask the responder provisionally. 3: each wrong guess costs a model
    /// call.
    pub max_speculations: u32,
    /// Speech over the agent's voice that counts as an interruption without any recognised word.
    /// 500 ms: a cough is shorter.
    pub min_interruption: Duration,
    /// A pause of the agent's voice with no recognised word after which it was a false
    /// interruption. 1.5 s: the recogniser has long answered by then.
    pub false_interruption: Duration,
    /// The longest user turn. 5 minutes: a stuck button or a radio must not bill forever (P-02).
    pub max_turn: Duration,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            min_delay: Duration::from_millis(400),
            max_delay: Duration::from_millis(1500),
            finalize_timeout: Duration::from_millis(600),
            recovery_timeout: Duration::from_secs(6),
            unheard_patience: Duration::from_secs(30),
            finalize_after: Duration::from_millis(200),
            speculate: true,
            max_speculations: 3,
            min_interruption: Duration::from_millis(500),
            false_interruption: Duration::from_millis(1500),
            max_turn: Duration::from_secs(300),
        }
    }
}

livos_core::with_fields!(TurnConfig {
    with_min_delay => min_delay: Duration,
    with_max_delay => max_delay: Duration,
    with_finalize_timeout => finalize_timeout: Duration,
    with_recovery_timeout => recovery_timeout: Duration,
    with_unheard_patience => unheard_patience: Duration,
    with_finalize_after => finalize_after: Duration,
    with_speculate => speculate: bool,
    with_max_speculations => max_speculations: u32,
    with_min_interruption => min_interruption: Duration,
    with_false_interruption => false_interruption: Duration,
    with_max_turn => max_turn: Duration,
});
