//! What was said in one conversation, in the shape that a model accepts: user first, then turn and
//! turn about, nothing blank.
//!
//! The history holds what was heard. An answer that was cut off stands here with the words that
//! reached the listener; one that nobody heard does not stand here at all, and the user's two
//! messages become one.

use std::collections::VecDeque;

use crate::{
    message::{Message, Role},
    tokens,
};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryConfig {
    /// Messages. 400: some hours of talk.
    pub messages: usize,
    /// Estimated tokens. 100,000: half the window of the default model, which leaves room for the
    /// answer and for an estimate that is wrong.
    pub tokens: u64,
}

livos_core::with_fields!(HistoryConfig {
    with_messages => messages: usize,
    with_tokens => tokens: u64,
});

impl Default for HistoryConfig {
    fn default() -> Self {
        Self { messages: 400, tokens: 100_000 }
    }
}

/// One conversation. The oldest turns leave, whole, when a bound is passed.
#[derive(Debug, Clone, Default)]
pub struct History {
    config: HistoryConfig,
    messages: VecDeque<Message>,
    tokens: u64,
}

impl History {
    /// Empty, within these bounds.
    pub fn new(config: HistoryConfig) -> Self {
        Self { config, ..Self::default() }
    }

    /// The messages, oldest first. The first is the user's, and neighbours differ in role.
    pub fn messages(&self) -> impl ExactSizeIterator<Item = &Message> {
        self.messages.iter()
    }

    /// Adds what was said; a blank text adds nothing. A message of the same role as the last one is
    /// joined to it by a line break.
    pub fn push(&mut self, message: Message) {
        let text = message.text.trim();
        // A model refuses a conversation that begins with its own words.
        if text.is_empty() || self.messages.is_empty() && message.role == Role::Assistant {
            return;
        }
        self.tokens += tokens::estimate(text);
        match self.messages.back_mut().filter(|last| last.role == message.role) {
            // A user who goes on before the answer is heard is understood again from the beginning
            // of the turn.
            Some(last) if continues(&last.text, text) => {
                self.tokens = self.tokens.saturating_sub(tokens::estimate(&last.text));
                text.clone_into(&mut last.text);
            }
            Some(last) => {
                last.text.push('\n');
                last.text.push_str(text);
            }
            None => self.messages.push_back(Message { role: message.role, text: text.to_owned() }),
        }
        self.trim();
    }

    /// Takes back a message of the user that was pushed and stays without an answer, or its part of
    /// the message that it was joined to. If an answer came after it, it stays.
    pub fn take_back(&mut self, message: &Message) {
        let text = message.text.trim();
        let Some(last) = self.messages.back_mut().filter(|last| last.role == message.role) else { return };
        let before = tokens::estimate(&last.text);
        let lines = |text: &str| format!("\n{text}\n");
        let joined = lines(&last.text);
        let Some(at) = joined.rfind(&lines(text)) else { return };
        let rest = format!("{}\n{}", &joined[..at], &joined[at + text.len() + 2..]);
        rest.trim().clone_into(&mut last.text);
        let after = if last.text.is_empty() { 0 } else { tokens::estimate(&last.text) };
        if last.text.is_empty() {
            self.messages.pop_back();
        }
        self.tokens = (self.tokens + after).saturating_sub(before);
    }

    /// Drops whole turns from the front until the bounds hold; the last turn always stays.
    fn trim(&mut self) {
        while self.messages.len() > self.config.messages.max(1) || self.tokens > self.config.tokens {
            let next_turn = self.messages.iter().skip(1).position(|message| message.role == Role::User);
            let Some(next_turn) = next_turn else { return };
            for message in self.messages.drain(..=next_turn) {
                self.tokens = self.tokens.saturating_sub(tokens::estimate(&message.text));
            }
        }
    }
}

/// Whether `text` is `before` with more words: the same words first, whatever became of the
/// punctuation between.
fn continues(before: &str, text: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let plain: String =
            text.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { ' ' }).collect();
        plain.split_whitespace().map(str::to_owned).collect()
    };
    let (before, text) = (words(before), words(text));
    text.len() > before.len() && text.starts_with(&before)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(history: &History) -> Vec<(Role, &str)> {
        history.messages().map(|message| (message.role, message.text.as_str())).collect()
    }

    #[test]
    fn an_answer_that_nobody_heard_leaves_one_message_of_the_user() {
        let mut history = History::default();
        history.push(Message::user("tell me a story"));
        history.push(Message::assistant(" "));
        history.push(Message::user("no, a joke"));
        assert_eq!(texts(&history), [(Role::User, "tell me a story\nno, a joke")]);
    }

    #[test]
    fn a_turn_that_goes_on_is_not_said_twice() {
        let mut history = History::default();
        history.push(Message::user("Turn on the light."));
        history.push(Message::user("Turn on the light, and the heating."));
        assert_eq!(texts(&history), [(Role::User, "Turn on the light, and the heating.")]);
    }

    #[test]
    fn whole_turns_leave_when_a_bound_is_passed() {
        let mut history = History::new(HistoryConfig { messages: 4, tokens: 1_000 });
        for n in 0..5 {
            history.push(Message::user(format!("question {n}")));
            history.push(Message::assistant(format!("answer {n}")));
        }
        assert_eq!(texts(&history)[0], (Role::User, "question 3"));
        assert_eq!(history.messages().len(), 4);
    }

    proptest! {
        #[test]
        fn it_always_has_the_shape_a_model_accepts(pushes in prop::collection::vec((any::<bool>(), "[a-z ]{0,60}"), 0..60)) {
            let mut history = History::new(HistoryConfig { messages: 7, tokens: 60 });
            for (user, text) in pushes {
                history.push(if user { Message::user(text) } else { Message::assistant(text) });
                let messages: Vec<_> = history.messages().collect();
                prop_assert!(messages.first().is_none_or(|first| first.role == Role::User));
                prop_assert!(messages.windows(2).all(|pair| pair[0].role != pair[1].role));
                prop_assert!(messages.iter().all(|message| !message.text.trim().is_empty()));
                prop_assert!(messages.len() <= 7 + 1);
            }
        }
    }
}
