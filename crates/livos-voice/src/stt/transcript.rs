//! What was heard: words with their place in the audio, provisional until final.

use std::time::Duration;

/// Whether a transcript may still change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TranscriptKind {
    /// Replaces the interim transcript before it; may change.
    Interim,
    /// Fixed; append it to the utterance.
    Final,
}

/// A recognised word and its place in the audio.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// As it should be shown, with case and punctuation where the provider gives them.
    pub text: String,
    /// Where it begins in the session's audio.
    pub start: Duration,
    /// Where it ends in the session's audio.
    pub end: Duration,
    /// How sure the provider is, from 0 to 1.
    pub confidence: f32,
}

/// A span of recognised speech.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// Whether later transcripts may still change it.
    pub kind: TranscriptKind,
    /// The words, joined. May be empty: silence was heard.
    pub text: String,
    /// The words with their times; empty where the provider gives none.
    pub words: Vec<Word>,
    /// The span of the session's audio that this covers.
    pub start: Duration,
    /// The end of the span.
    pub end: Duration,
    /// The provider heard the end of an utterance.
    pub end_of_speech: bool,
}

impl Transcript {
    /// What was heard between `start` and `end`, without times of the single words.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use livos_voice::stt::{Transcript, TranscriptKind};
    /// let heard = Transcript::new(TranscriptKind::Final, "Turn on the lamp.", Duration::ZERO, Duration::from_secs(1));
    /// assert!(heard.words.is_empty() && !heard.end_of_speech);
    /// ```
    pub fn new(kind: TranscriptKind, text: impl Into<String>, start: Duration, end: Duration) -> Self {
        Self { kind, text: text.into(), words: Vec::new(), start, end, end_of_speech: false }
    }

    /// The same transcript, whose words have a place in the audio.
    pub fn with_words(mut self, words: Vec<Word>) -> Self {
        self.words = words;
        self
    }
}
