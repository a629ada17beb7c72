//! Providers with a script, for tests of what is built on this crate. Behind the feature
//! `test-util`.
//!
//! They speak through the same channels as real ones and wait by the runtime's clock, so a test
//! with paused time takes none.
//!
//! ```
//! use std::sync::Arc;
//!
//! use livos_voice::{
//!     audio::{AudioFormat, Frame},
//!     stt::{SpeechToText, SttCommand, SttEvent},
//!     testing::ScriptedStt,
//! };
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! let stt = ScriptedStt::new(["What time is it?"]);
//! let (mut session, driver) = stt.open();
//! tokio::spawn(driver);
//! let loud = vec![0x20; AudioFormat::SPEECH.bytes_in(std::time::Duration::from_millis(20))];
//! let frame = Frame::new(AudioFormat::SPEECH, loud.into()).unwrap();
//! session.commands.send(SttCommand::Audio(frame)).await.unwrap();
//! session.commands.send(SttCommand::EndOfSpeech).await.unwrap();
//! let heard = loop {
//!     if let Some(SttEvent::Transcript(transcript)) = session.events.recv().await {
//!         break transcript.text;
//!     }
//! };
//! assert_eq!(heard, "What time is it?");
//! # }
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::mpsc;

use crate::{
    audio::{AudioFormat, Frame},
    connection::ConnectionState,
    stt::{Driver, SpeechToText, SttCommand, SttEvent, SttSession, Transcript, TranscriptKind},
    tts::{SpokenWord, TextToSpeech, TtsCommand, TtsEvent, TtsSession},
};

/// Commands and events that may wait in each direction.
const CHANNEL: usize = 64;
/// Samples louder than this are speech.
const LOUD: u16 = 1000;

/// Hears the next sentence of its script in each utterance that holds sound, and nothing in one of
/// silence or after the end of the script.
///
/// It answers [`SttCommand::EndOfSpeech`] with one final transcript, 150 ms later unless told
/// otherwise. Clones share the script.
#[derive(Debug, Clone, Default)]
pub struct ScriptedStt {
    says: Arc<Mutex<VecDeque<String>>>,
    given: Arc<Mutex<Duration>>,
    delay: Option<Duration>,
    refusal: Option<String>,
}

impl ScriptedStt {
    /// Hears these sentences, one an utterance.
    pub fn new(says: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let says = says.into_iter().map(Into::into).collect();
        Self { says: Arc::new(Mutex::new(says)), ..Self::default() }
    }

    /// Refuses every session with `reason`, as a provider does with a wrong key.
    pub fn refusing(reason: impl Into<String>) -> Self {
        Self { refusal: Some(reason.into()), ..Self::default() }
    }

    /// Answers the end of speech after `delay`.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// All audio that its sessions were given.
    pub fn given(&self) -> Duration {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_sentence(&self) -> String {
        self.says.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or_default()
    }

    async fn hear(self, mut commands: mpsc::Receiver<SttCommand>, events: mpsc::Sender<SttEvent>) {
        if let Some(reason) = self.refusal {
            let _ = events.send(SttEvent::Failed(reason)).await;
            return;
        }
        let _ = events.send(SttEvent::State(ConnectionState::Connected)).await;
        let (mut loud, mut start, mut end) = (false, Duration::ZERO, Duration::ZERO);
        while let Some(command) = commands.recv().await {
            match command {
                SttCommand::Audio(frame) => {
                    end += frame.duration();
                    *self.given.lock().unwrap_or_else(PoisonError::into_inner) += frame.duration();
                    loud |= frame.iter().any(|sample| sample.unsigned_abs() > LOUD);
                }
                SttCommand::EndOfSpeech => {
                    tokio::time::sleep(self.delay.unwrap_or(Duration::from_millis(150))).await;
                    let text = if loud { self.next_sentence() } else { String::new() };
                    let mut transcript = Transcript::new(TranscriptKind::Final, text, start, end);
                    transcript.end_of_speech = true;
                    (loud, start) = (false, end);
                    let _ = events.send(SttEvent::Transcript(transcript)).await;
                    let _ = events.send(SttEvent::Finalized).await;
                }
                SttCommand::Close => return,
            }
        }
    }
}

impl SpeechToText for ScriptedStt {
    fn open(&self) -> (SttSession, Driver) {
        let ((commands, inbox), (outbox, events)) = (mpsc::channel(CHANNEL), mpsc::channel(CHANNEL));
        (SttSession { commands, events }, Box::pin(self.clone().hear(inbox, outbox)))
    }
}

/// Speaks each word of a text as a piece of noise, as fast as it is taken.
///
/// A piece begins 50 ms after its text came and a word lasts 200 ms, unless told otherwise.
#[derive(Debug, Clone)]
pub struct ScriptedTts {
    word: Duration,
    delay: Duration,
    refusal: Option<String>,
}

impl Default for ScriptedTts {
    fn default() -> Self {
        Self { word: Duration::from_millis(200), delay: Duration::from_millis(50), refusal: None }
    }
}

impl ScriptedTts {
    /// Refuses every session with `reason`, as a provider does with a wrong key.
    pub fn refusing(reason: impl Into<String>) -> Self {
        Self { refusal: Some(reason.into()), ..Self::default() }
    }

    /// Makes each word last so long.
    pub fn with_word(mut self, word: Duration) -> Self {
        self.word = word;
        self
    }

    /// Begins each piece of text after `delay`.
    pub fn with_delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    async fn speak(self, mut commands: mpsc::Receiver<TtsCommand>, events: mpsc::Sender<TtsEvent>) {
        if let Some(reason) = self.refusal {
            let _ = events.send(TtsEvent::Refused(reason)).await;
            return;
        }
        let (mut start, mut current) = (Duration::ZERO, None);
        while let Some(command) = commands.recv().await {
            match command {
                TtsCommand::Speak { generation, text } => {
                    if current.replace(generation) != Some(generation) {
                        start = Duration::ZERO;
                    }
                    tokio::time::sleep(self.delay).await;
                    for text in text.split_whitespace() {
                        let word = SpokenWord { text: text.to_owned(), start, end: start + self.word };
                        start = word.end;
                        let noise = vec![9u8; AudioFormat::VOICE.bytes_in(self.word)];
                        let Ok(frame) = Frame::new(AudioFormat::VOICE, noise.into()) else { return };
                        let _ = events.send(TtsEvent::Audio { generation, frame }).await;
                        let _ = events.send(TtsEvent::Words { generation, words: vec![word] }).await;
                    }
                }
                TtsCommand::Finish(generation) => {
                    let _ = events.send(TtsEvent::Done(generation)).await;
                }
                TtsCommand::Cancel(_) => {}
                TtsCommand::Close => return,
            }
        }
    }
}

impl TextToSpeech for ScriptedTts {
    fn open(&self) -> (TtsSession, Driver) {
        let ((commands, inbox), (outbox, events)) = (mpsc::channel(CHANNEL), mpsc::channel(CHANNEL));
        (TtsSession { commands, events }, Box::pin(self.clone().speak(inbox, outbox)))
    }
}
