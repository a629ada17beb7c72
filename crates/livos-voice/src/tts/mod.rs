//! Text to speech: text in, frames and the words they speak out.
//!
//! A provider implements [`TextToSpeech`]. As in [`crate::stt`], opening answers at once with two
//! bounded channels and a driver that the caller polls. One session carries one generation after
//! another over a connection that stays open between them.

use std::time::Duration;

use tokio::sync::mpsc;

#[cfg(feature = "cartesia")]
pub mod cartesia;
pub mod chunk;

pub use chunk::{ChunkConfig, Chunker};

pub use crate::stt::Driver;
use crate::{audio::Frame, connection::ConnectionState, generation::Generation};

/// A client of a speech synthesiser: opens synthesis sessions.
///
/// ```
/// use std::time::Duration;
///
/// use livos_voice::{
///     audio::{AudioFormat, Frame},
///     tts::{Driver, TextToSpeech, TtsCommand, TtsEvent, TtsSession},
/// };
/// use tokio::sync::mpsc;
///
/// /// Speaks 100 ms of silence for each piece of text.
/// struct Mute;
///
/// impl TextToSpeech for Mute {
///     fn open(&self) -> (TtsSession, Driver) {
///         let ((commands, mut inbox), (outbox, events)) = (mpsc::channel(64), mpsc::channel(64));
///         let driver = async move {
///             let samples = AudioFormat::VOICE.bytes_in(Duration::from_millis(100)) / 2;
///             let frame = Frame::from_samples(AudioFormat::VOICE, vec![0; samples]);
///             while let Some(command) = inbox.recv().await {
///                 let event = match command {
///                     TtsCommand::Speak { generation, .. } => {
///                         TtsEvent::Audio { generation, frame: frame.clone() }
///                     }
///                     TtsCommand::Finish(generation) => TtsEvent::Done(generation),
///                     TtsCommand::Cancel(_) => continue, // Nothing is left to come out.
///                     _ => return,                       // Close
///                 };
///                 let _ = outbox.send(event).await;
///             }
///         };
///         (TtsSession { commands, events }, Box::pin(driver))
///     }
/// }
/// ```
pub trait TextToSpeech: Send + Sync + 'static {
    /// Opens a session that speaks 24 kHz mono audio. Never blocks and never fails; see
    /// [`TtsEvent`].
    fn open(&self) -> (TtsSession, Driver);
}

/// The caller's end of a synthesis session.
#[derive(Debug)]
pub struct TtsSession {
    /// Commands to the driver; bounded.
    pub commands: mpsc::Sender<TtsCommand>,
    /// Audio and words; bounded, so a listener that lags holds the provider back.
    pub events: mpsc::Receiver<TtsEvent>,
}

/// What the pipeline asks of a synthesis session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TtsCommand {
    /// More text of a generation, joined verbatim to what came before. The caller has already cut
    /// it into clauses.
    Speak {
        /// Which reply it belongs to. A higher one than before starts a new reply and drops what is
        /// left of the older.
        generation: Generation,
        /// The text, with the space that separates it from what came before.
        text: String,
    },
    /// No more text will come for this generation.
    Finish(Generation),
    /// The listener interrupted: nothing of this generation or older may come out any more.
    Cancel(Generation),
    /// Close the connection and end the driver.
    Close,
}

/// A spoken word, placed in the audio of its generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpokenWord {
    /// The word as it stood in the text.
    pub text: String,
    /// Where it begins, from the first sample of the generation.
    pub start: Duration,
    /// Where it ends, from the first sample of the generation.
    pub end: Duration,
}

/// What a synthesis session reports.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TtsEvent {
    /// The connection to the provider changed its state.
    State(ConnectionState),
    /// Audio of a generation, in order, without gaps.
    Audio {
        /// Which reply it speaks.
        generation: Generation,
        /// Audio at 24 kHz, mono.
        frame: Frame,
    },
    /// Words of a generation, in order.
    Words {
        /// Which reply they belong to.
        generation: Generation,
        /// The words with their place in the audio.
        words: Vec<SpokenWord>,
    },
    /// The connection broke inside a word: audio and words of the generation from `at` on are void,
    /// and will come again.
    Truncate {
        /// The reply that is spoken.
        generation: Generation,
        /// Audio and words from here on are void.
        at: Duration,
    },
    /// All audio of the generation has come out.
    Done(Generation),
    /// The provider could not speak the rest of the generation. A lowercase sentence without
    /// secrets.
    Failed {
        /// The reply that is spoken.
        generation: Generation,
        /// What failed and whose side it was.
        reason: String,
    },
    /// Characters submitted, in total for the session.
    Billed(u64),
    /// The provider refused for good: the session is over.
    Refused(String),
}
