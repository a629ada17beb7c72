//! What is said while the answer is not there yet: a short sentence in the agent's voice, so that nobody wonders whether they were heard.
//!
//! A model's time to its first word has a long tail, and nothing in front of or behind it can be shortened by as much. People fill such a pause with "let
//! me see"; so does a session that is given an [`OpenerConfig`]. An opener is no answer: the responder is never told of it, what was heard of an answer
//! is counted without it, and the waterfall names it.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

/// When something is said before the answer, and what.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OpenerConfig {
    /// How long after the end of the user's speech. 950 ms: with the 200 ms that a synthesiser takes for its first sound the silence stays below
    /// 1200 ms, and an answer that is quick is not delayed by a sentence before it.
    pub after: Duration,
    /// Sentences of which one is said, never the same twice running where there are more. Short: what is said here comes before the answer.
    pub sentences: Vec<String>,
}

impl OpenerConfig {
    /// The longest sentence, in bytes.
    pub const LONGEST: usize = 100;

    /// These sentences, after the default time.
    pub fn new(sentences: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { after: Duration::from_millis(950), sentences: sentences.into_iter().map(Into::into).collect() }
    }

    /// Sentences that fit before any answer in English.
    pub fn english() -> Self {
        Self::new([
            "Hm, let me see.",
            "One moment.",
            "Let me think.",
            "Well, let's see.",
            "Okay, just a second.",
            "Let me have a look.",
            "Right, one second.",
            "Hm, give me a moment.",
        ])
    }
}

/// The sentences of one session, in turn.
#[derive(Debug, Clone)]
pub struct Openers {
    config: OpenerConfig,
    next: u32,
}

impl Openers {
    /// Begins at any of the sentences, so that not every session begins with the same one; none where there is nothing to say.
    pub fn new(config: OpenerConfig, first: u32) -> Option<Self> {
        (!config.sentences.is_empty()).then_some(Self { config, next: first })
    }

    /// How long after the end of the user's speech one is due.
    pub fn after(&self) -> Duration {
        self.config.after
    }

    /// The next sentence.
    pub fn take(&mut self) -> &str {
        let at = self.next as usize % self.config.sentences.len();
        self.next = self.next.wrapping_add(1);
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
        assert!(Openers::new(OpenerConfig::new([""; 0]), 0).is_none());
    }

    #[test]
    fn the_sentences_that_come_along_are_short_and_different() {
        let mut sentences = OpenerConfig::english().sentences;
        assert!(
            sentences.iter().all(|text| text.len() <= OpenerConfig::LONGEST && text.split(' ').count() <= 5)
        );
        sentences.sort_unstable();
        sentences.dedup();
        assert_eq!(sentences.len(), 8);
    }
}
