//! The words of one answer: what is to be said, how far it was given to the synthesiser, and how
//! far it was shown.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Instant;

use crate::tts::chunk::{ChunkConfig, Chunker};

/// The longest answer, in bytes. An hour of speech is 50 kB; a model that never stops must not fill
/// the memory.
const MAX_ANSWER: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Script {
    /// The opener, if there was one, and what the responder said.
    text: String,
    /// Length of the opener in `text`.
    opener: usize,
    chunker: Chunker,
    /// How much of `text` went to the chunker.
    fed: usize,
    /// How much of `text` was shown; `None` for an answer that is only spoken.
    shown: Option<usize>,
    /// When the first piece of what the responder said was cut.
    begun: Option<Instant>,
}

impl Script {
    pub(super) fn new(chunk: ChunkConfig) -> Self {
        Self {
            text: String::new(),
            opener: 0,
            chunker: Chunker::new(chunk),
            fed: 0,
            shown: None,
            begun: None,
        }
    }

    /// Adds what the responder said; false once the answer is too long to go on.
    pub(super) fn push(&mut self, text: &str) -> bool {
        self.text.push_str(text);
        self.text.len() <= MAX_ANSWER
    }

    /// Puts `sentence` before the answer, and answers the piece to speak. It is a piece of its own,
    /// so the answer still begins with a quick first clause.
    pub(super) fn open_with(&mut self, sentence: &str) -> String {
        self.text = format!("{sentence} ");
        (self.opener, self.fed) = (self.text.len(), self.text.len());
        self.text.clone()
    }

    /// Everything to be said so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The opener; empty if there was none.
    pub(super) fn opener(&self) -> &str {
        self.text[..self.opener].trim_end()
    }

    /// What the responder said so far.
    pub(super) fn said(&self) -> &str {
        &self.text[self.opener..]
    }

    /// Takes the opener from a beginning of the text.
    pub(super) fn without_opener<'a>(&self, beginning: &'a str) -> &'a str {
        beginning.get(self.opener..).unwrap_or_default()
    }

    /// Shows the text as well, from byte `from` on, unless it is shown already.
    pub(super) fn show_from(&mut self, from: usize) {
        self.shown = self.shown.or(Some(from));
    }

    /// What is to be shown and was not yet.
    pub(super) fn next_shown(&mut self) -> Option<String> {
        let shown = self.shown.filter(|shown| *shown < self.text.len())?;
        self.shown = Some(self.text.len());
        Some(self.text[shown..].to_owned())
    }

    /// What was shown so far.
    pub(super) fn shown(&self) -> &str {
        &self.text[..self.shown.unwrap_or(0)]
    }

    /// Whether the synthesiser was given anything.
    pub(super) fn was_fed(&self) -> bool {
        self.fed > 0
    }

    /// When the first words of the responder went to the synthesiser.
    pub(super) fn begun(&self) -> Option<Instant> {
        self.begun
    }

    /// When a pause of the responder lets the first piece go.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.chunker.poll_timeout()
    }

    /// Cuts what is new; call it before [`Script::next_piece`].
    pub(super) fn feed(&mut self, now: Instant) {
        if self.fed < self.text.len() {
            self.chunker.push(now, &self.text[self.fed..]);
            self.fed = self.text.len();
        }
    }

    /// The next piece to speak; with `whole`, what is left comes as the last one.
    pub(super) fn next_piece(&mut self, now: Instant, whole: bool) -> Option<String> {
        let piece = self.chunker.next_piece().or_else(|| self.chunker.handle_timeout(now));
        let piece = if whole { piece.or_else(|| self.chunker.finish()) } else { piece };
        if piece.is_some() {
            self.begun.get_or_insert(now);
        }
        piece
    }
}
