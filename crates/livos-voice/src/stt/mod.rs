//! Speech to text: frames in, transcripts out.
//!
//! A provider implements [`SpeechToText`], and [`Transcriber`] for what was recorded before.
//! [`SpeechToText::open`] answers at once with a [`SttSession`] (two bounded channels) and a
//! driver: the future that owns the connection, its reconnects and its replay. The caller polls the
//! driver next to its own work, so that no task is spawned out of its sight; dropping the driver
//! closes the connection.

#[cfg(feature = "deepgram")]
pub mod deepgram;
pub mod recording;
pub mod transcript;

use std::{future::Future, pin::Pin};

use tokio::sync::mpsc;

pub use recording::{Recording, TranscribeError, Transcriber};
pub use transcript::{Transcript, TranscriptKind, Word};

use crate::{audio::Frame, connection::ConnectionState};

/// The future that runs a session. It ends when the session is closed or dropped, or when the
/// provider refuses for good.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A client of a speech recogniser: opens recognition sessions.
///
/// ```
/// use std::time::Duration;
///
/// use livos_voice::stt::{
///     Driver, SpeechToText, SttCommand, SttEvent, SttSession, Transcript, TranscriptKind,
/// };
/// use tokio::sync::mpsc;
///
/// /// Tells how long each utterance was.
/// struct Stopwatch;
///
/// impl SpeechToText for Stopwatch {
///     fn open(&self) -> (SttSession, Driver) {
///         let ((commands, mut inbox), (outbox, events)) = (mpsc::channel(64), mpsc::channel(64));
///         let driver = async move {
///             let (mut start, mut end) = (Duration::ZERO, Duration::ZERO);
///             while let Some(command) = inbox.recv().await {
///                 match command {
///                     SttCommand::Audio(frame) => end += frame.duration(),
///                     SttCommand::EndOfSpeech => {
///                         let text = format!("{} ms", (end - start).as_millis());
///                         let heard = Transcript::new(TranscriptKind::Final, text, start, end);
///                         start = end;
///                         let _ = outbox.send(SttEvent::Transcript(heard)).await;
///                         let _ = outbox.send(SttEvent::Finalized).await;
///                     }
///                     _ => return, // Close
///                 }
///             }
///         };
///         (SttSession { commands, events }, Box::pin(driver))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (mut session, driver) = Stopwatch.open();
/// tokio::spawn(driver);
/// session.commands.send(SttCommand::EndOfSpeech).await.unwrap();
/// let Some(SttEvent::Transcript(heard)) = session.events.recv().await else { panic!("nothing heard") };
/// assert_eq!(heard.text, "0 ms");
/// # }
/// ```
pub trait SpeechToText: Send + Sync + 'static {
    /// Opens a session for 16 kHz mono audio. Never blocks and never fails: connecting happens in
    /// the driver, and what goes wrong arrives as [`SttEvent::State`] and [`SttEvent::Failed`].
    fn open(&self) -> (SttSession, Driver);
}

/// The caller's end of a recognition session.
#[derive(Debug)]
pub struct SttSession {
    /// Commands to the driver; bounded, so a full channel is back pressure.
    pub commands: mpsc::Sender<SttCommand>,
    /// What the provider heard. The channel closes when the session is over.
    pub events: mpsc::Receiver<SttEvent>,
}

/// What the pipeline asks of a recognition session.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SttCommand {
    /// Audio that passed the gate.
    Audio(Frame),
    /// The user stopped speaking (button released, or local end of speech): answer what you have,
    /// now.
    EndOfSpeech,
    /// Finish what was sent, close the stream properly, and end the driver.
    Close,
}

/// What a recognition session reports. All times count the audio that the session was given, from
/// its first sample, whatever connection carried it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SttEvent {
    /// The connection to the provider changed its state.
    State(ConnectionState),
    /// Words, provisional or fixed.
    Transcript(Transcript),
    /// Everything sent before the last [`SttCommand::EndOfSpeech`] has been answered (or the wait
    /// for the answer ran out).
    Finalized,
    /// The provider itself judges turns (Flux): the user began to speak.
    StartOfTurn,
    /// The provider thinks that the turn may be over, with the whole turn so far: prepare, but say
    /// nothing.
    EagerEndOfTurn(String),
    /// The user went on after all.
    TurnResumed,
    /// The turn is over, with the whole turn.
    EndOfTurn(String),
    /// Seconds of audio sent that will be billed, in total for the session.
    Billed(std::time::Duration),
    /// The provider refused for good (bad key, bad parameter): the session is over. A lowercase
    /// sentence without secrets.
    Failed(String),
}
