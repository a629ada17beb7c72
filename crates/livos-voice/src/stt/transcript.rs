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

/// One recognised word.
#[derive(Debug, Clone, PartialEq)]
pub struct Word {
    /// As it should be shown, with case and punctuation where the provider gives them.
    pub text: String,
    /// Where it begins in the session's audio.
    pub start: Duration,
    /// Where it ends.
    pub end: Duration,
    /// 0 to 1.
    pub confidence: f32,
}

/// A span of recognised speech.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// Provisional or fixed.
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
