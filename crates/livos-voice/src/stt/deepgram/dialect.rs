//! What the two protocols of the provider do differently.

use std::{collections::VecDeque, time::Duration};

use tokio_tungstenite::tungstenite;

use super::{
    replay::{Replay, lasting},
    wire,
};
use crate::stt::{SttEvent, Transcript, TranscriptKind, Word};

/// Interprets the provider's messages, and says what to send it.
pub(super) trait Dialect: Send + 'static {
    /// Whether audio may flow as soon as the socket is open.
    const READY_ON_OPEN: bool;
    /// The least audio of a message, in bytes; 0 to send frames as they come.
    const LEAST: u64;

    /// The message that keeps an idle connection open.
    fn keep_alive(&self) -> tungstenite::Message;
    /// The message that asks for an answer to the end of speech.
    fn question(&self) -> &'static str;
    /// Bytes of silence that must come before the question.
    fn trailing_silence(&self) -> u64;
    /// Bytes of silence to send when no audio was sent for this long, because the provider's clock
    /// would stand still.
    fn padding(&self) -> Option<(Duration, u64)>;
    /// A new connection takes over; what was provisional is void.
    fn reopened(&mut self, out: &mut VecDeque<Heard>);
    fn heard(&mut self, message: wire::Message, replay: &mut Replay, out: &mut VecDeque<Heard>);
}

/// What a dialect concluded from a message.
#[derive(Debug)]
pub(super) enum Heard {
    Event(SttEvent),
    /// The provider takes audio from now on.
    Ready,
    /// The end of speech is answered.
    Answered,
    /// The provider gave up on this connection.
    Broken(String),
    /// The provider has sent its last message.
    Over,
}

/// Converts the words of a transcript. Answers whether some were heard before and are left out, and
/// the place where the last one ends.
pub(super) fn words(
    replay: &Replay,
    words: Vec<wire::WireWord>,
    span: (u64, u64),
) -> (Vec<Word>, bool, Option<u64>) {
    let (mut kept, mut last) = (Vec::with_capacity(words.len()), None);
    let before = words.len();
    for word in words {
        let start = word.start.map_or(span.0, |at| replay.place(at));
        let end = word.end.map_or(span.1, |at| replay.place(at)).max(start);
        if replay.is_repeat(end) {
            continue;
        }
        last = last.max(Some(end));
        kept.push(Word {
            text: word.punctuated_word.unwrap_or(word.word),
            start: lasting(start),
            end: lasting(end),
            confidence: word.confidence,
        });
    }
    let cut = kept.len() != before;
    (kept, cut, last)
}

/// A transcript of these words: the provider's own text, unless words were cut from it.
pub(super) fn transcript(
    kind: TranscriptKind,
    (words, cut): (Vec<Word>, bool),
    text: String,
    span: (u64, u64),
) -> Transcript {
    let text =
        if cut { words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ") } else { text };
    Transcript { kind, text, words, start: lasting(span.0), end: lasting(span.1), end_of_speech: false }
}
