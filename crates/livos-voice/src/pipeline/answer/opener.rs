//! A short sentence in the agent's voice while the answer is not there yet, so that nobody wonders
//! whether they were heard.
//!
//! A model's time to its first word has a long tail, and nothing in front of or behind it can be
//! shortened by as much. People fill such a pause with "let me see"; so does a session that is
//! given an [`OpenerConfig`]. An opener is no answer: the responder is never told of it, what was
//! heard of an answer is counted without it, and the waterfall names it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// What is said before a late answer, and when. Nothing by default: such words are the deployment's
/// choice.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenerConfig {
    /// How long after the end of the user's speech. 850 ms: a detector may be 150 ms late to see
    /// that end, and a synthesiser takes up to 200 ms for its first sound, so the silence stays
    /// below 1200 ms.
    pub after: Duration,
    /// One of these is said, never the same twice in a row if there are several. Keep them short:
    /// an answer that comes meanwhile waits for the end of the sentence.
    pub sentences: Vec<String>,
}

impl Default for OpenerConfig {
    fn default() -> Self {
        Self { after: Duration::from_millis(850), sentences: Vec::new() }
    }
}

impl OpenerConfig {
    /// These sentences, after the default time.
    pub fn new(sentences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { sentences: sentences.into_iter().map(Into::into).collect(), ..Self::default() }
    }
}

livos_core::with_fields!(OpenerConfig {
    with_after => after: Duration,
});

/// The sentences of one session, in turn.
#[derive(Debug, Clone)]
pub struct Openers {
    config: OpenerConfig,
    next: usize,
}

impl Openers {
    /// Begins with sentence number `first` (modulo their number), so that sessions differ. `None`
    /// if there is nothing to say.
    pub fn new(config: OpenerConfig, first: u32) -> Option<Self> {
        (!config.sentences.is_empty()).then_some(Self { config, next: first as usize })
    }

    /// How long after the end of the user's speech one is due.
    pub fn after(&self) -> Duration {
        self.config.after
    }

    /// The next sentence, in turn.
    pub fn take(&mut self) -> &str {
        let at = self.next % self.config.sentences.len();
        self.next = at + 1;
        &self.config.sentences[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sentence_has_its_turn_before_one_comes_again() {
        let mut openers = Openers::new(OpenerConfig::new(["a", "b", "c"]), 7).unwrap();
        let said: Vec<String> = (0..6).map(|_| openers.take().to_owned()).collect();
        assert_eq!(said[..3], said[3..]);
        let mut all = said[..3].to_vec();
        all.sort_unstable();
        assert_eq!(all, ["a", "b", "c"]);
        assert!(Openers::new(OpenerConfig::default(), 0).is_none());
    }
}
