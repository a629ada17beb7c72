//! What of an answer is shown when: it grows by edits, no faster than allowed, and its end always
//! lands.
//!
//! A model says a word every few milliseconds; a provider allows a change a second. So a change
//! shows all that was said until then, whatever came in between, and the last change shows the
//! whole answer. What is longer than a message goes on in the next; where a message ends does not
//! change once the next is there.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use livos_core::machine::Machine;

use super::{
    Limit,
    split::{self, Piece},
};

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DraftConfig {
    /// How long a message may be.
    pub limit: Limit,
    /// The least time between two changes.
    pub gap: Duration,
    /// Characters before an answer that is not whole yet is shown. 24: some words, so that it does
    /// not begin with a single one.
    pub first: usize,
    /// Whether an answer is shown before it is whole.
    pub previews: bool,
}

impl DraftConfig {
    /// Within `limit`, a change every `gap`.
    pub fn new(limit: Limit, gap: Duration) -> Self {
        Self { limit, gap, first: 24, previews: true }
    }
}

/// What happens to an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftInput {
    /// More of it.
    Text(String),
    /// It is whole.
    End,
    /// The last output was carried out.
    Done,
    /// It was not: not before this time has passed.
    Later(Duration),
}

/// What is to be done. One at a time: the next comes after [`DraftInput::Done`] or
/// [`DraftInput::Later`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftOutput {
    /// Post the next message, with this number from 0.
    Post {
        /// Its number.
        part: usize,
        /// What it says.
        text: String,
    },
    /// Change a message.
    Edit {
        /// Its number.
        part: usize,
        /// What it says from now on.
        text: String,
    },
    /// Remove the last message: an earlier attempt said more than there is to say.
    Remove {
        /// Its number.
        part: usize,
    },
    /// The whole answer is shown. The last output.
    Delivered,
}

/// What is being done.
#[derive(Debug)]
enum UnderWay {
    Show(usize, String),
    Remove,
}

/// An answer on its way.
#[derive(Debug)]
pub struct Draft {
    config: DraftConfig,
    text: String,
    ended: bool,
    /// Where messages end that have a next one.
    cuts: Vec<usize>,
    /// What each message shows; nothing of one that is not known.
    shown: Vec<Option<String>>,
    under_way: Option<UnderWay>,
    delivered: bool,
    /// Whether anything came since it was last looked at.
    news: bool,
    not_before: Option<Instant>,
    outputs: VecDeque<DraftOutput>,
}

impl Draft {
    /// An answer of which nothing was said yet, and of which `posted` messages were posted by an
    /// earlier attempt.
    pub fn new(config: DraftConfig, posted: usize) -> Self {
        Self {
            config,
            text: String::new(),
            ended: false,
            cuts: Vec::new(),
            shown: vec![None; posted],
            under_way: None,
            delivered: false,
            news: false,
            not_before: None,
            outputs: VecDeque::new(),
        }
    }

    /// All that was said so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    fn look(&mut self, now: Instant) {
        let waits = self.not_before.is_some_and(|time| now < time);
        // That all is shown may be said at once: it changes nothing.
        let busy = self.under_way.is_some() || self.delivered || !self.news;
        if busy || (!self.ended && (waits || !self.config.previews)) {
            return;
        }
        self.news = false;
        let pieces = split::pieces(&self.text, self.config.limit, &self.cuts);
        let visible: Vec<&Piece<'_>> = pieces.iter().filter(|piece| piece.is_visible()).collect();
        let stale = |(part, piece): &(usize, &&Piece<'_>)| {
            self.shown.get(*part).is_none_or(|shown| shown.as_deref() != Some(&piece.to_string()))
        };
        let found = visible.iter().enumerate().find(stale).map(|(part, piece)| (part, piece.to_string()));
        match found {
            None if !self.ended => {}
            None if self.shown.len() == visible.len() => {
                self.delivered = true;
                self.outputs.push_back(DraftOutput::Delivered);
            }
            _ if waits => self.news = true,
            None => {
                self.outputs.push_back(DraftOutput::Remove { part: self.shown.len() - 1 });
                self.under_way = Some(UnderWay::Remove);
            }
            Some((part, _)) if !self.ended && !self.may_preview(part) => {}
            Some((part, text)) => {
                if part > 0 {
                    let ends = pieces.iter().map(|piece| piece.end).take(pieces.len() - 1);
                    self.cuts = ends.collect();
                }
                let output = match part < self.shown.len() {
                    true => DraftOutput::Edit { part, text: text.clone() },
                    false => DraftOutput::Post { part, text: text.clone() },
                };
                self.outputs.push_back(output);
                self.under_way = Some(UnderWay::Show(part, text));
            }
        }
    }

    /// Whether there is enough of an answer that is not whole.
    fn may_preview(&self, part: usize) -> bool {
        part > 0 || self.text.trim().chars().nth(self.config.first).is_some()
    }
}

impl Machine for Draft {
    type Input = DraftInput;
    type Output = DraftOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: DraftInput) {
        match input {
            DraftInput::Text(more) if !self.ended => self.text.push_str(&more),
            DraftInput::Text(_) => return,
            DraftInput::End => self.ended = true,
            DraftInput::Done => {
                match self.under_way.take() {
                    Some(UnderWay::Show(part, text)) => match self.shown.get_mut(part) {
                        Some(shown) => *shown = Some(text),
                        None => self.shown.push(Some(text)),
                    },
                    Some(UnderWay::Remove) => {
                        self.shown.pop();
                    }
                    None => return,
                }
                self.not_before = Some(now + self.config.gap);
            }
            DraftInput::Later(wait) => {
                if self.under_way.take().is_none() {
                    return;
                }
                self.not_before = Some(now + wait);
            }
        }
        self.news = true;
        self.look(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.look(now);
    }

    fn poll_output(&mut self) -> Option<DraftOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let waits = self.news && self.under_way.is_none() && !self.delivered;
        self.not_before.filter(|_| waits && (self.ended || self.config.previews))
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test makes its own now")]
mod tests {
    use livos_core::testing::check_law;
    use proptest::prelude::*;

    use super::{super::Unit, *};

    const SECOND: Duration = Duration::from_secs(1);

    struct Rig {
        draft: Draft,
        now: Instant,
    }

    impl Rig {
        fn new(config: impl FnOnce(&mut DraftConfig)) -> Self {
            let mut made = DraftConfig::new(Limit::new(40, Unit::Characters), SECOND);
            made.first = 5;
            config(&mut made);
            Self { draft: Draft::new(made, 0), now: Instant::now() }
        }

        fn say(&mut self, input: DraftInput) -> Option<DraftOutput> {
            self.draft.handle_input(self.now, input);
            self.draft.poll_output()
        }

        fn text(&mut self, text: &str) -> Option<DraftOutput> {
            self.say(DraftInput::Text(text.into()))
        }

        /// Waits until something is due.
        fn wait(&mut self) -> Option<DraftOutput> {
            self.now = self.draft.poll_timeout()?;
            self.draft.handle_timeout(self.now);
            self.draft.poll_output()
        }
    }

    fn post(part: usize, text: &str) -> Option<DraftOutput> {
        Some(DraftOutput::Post { part, text: text.into() })
    }

    fn edit(part: usize, text: &str) -> Option<DraftOutput> {
        Some(DraftOutput::Edit { part, text: text.into() })
    }

    #[test]
    fn an_answer_grows_by_edits_and_its_end_lands() {
        let mut rig = Rig::new(|_| {});
        assert_eq!(rig.text("One "), None, "a single word is no beginning");
        assert_eq!(rig.text("two "), post(0, "One two "));
        assert_eq!(rig.text("three "), None, "one at a time");
        assert_eq!(rig.say(DraftInput::Done), None, "and not at once");
        rig.text("four ");
        assert_eq!(rig.wait(), edit(0, "One two three four "), "all that came in between");
        rig.text("five.");
        assert_eq!(rig.say(DraftInput::End), None);
        assert_eq!(rig.say(DraftInput::Done), None);
        assert_eq!(rig.wait(), edit(0, "One two three four five."));
        assert_eq!(rig.say(DraftInput::Done), Some(DraftOutput::Delivered), "which is said at once");
        assert_eq!((rig.wait(), rig.text("late")), (None, None));
    }

    #[test]
    fn a_short_answer_is_one_message_and_a_blank_one_none() {
        let mut rig = Rig::new(|_| {});
        rig.text("Yes.");
        assert_eq!(rig.say(DraftInput::End), post(0, "Yes."));
        let mut rig = Rig::new(|_| {});
        rig.text(" \n");
        assert_eq!(rig.say(DraftInput::End), Some(DraftOutput::Delivered));
    }

    #[test]
    fn a_flood_is_waited_for_and_what_came_meanwhile_is_shown() {
        let mut rig = Rig::new(|_| {});
        assert_eq!(rig.text("One two "), post(0, "One two "));
        assert_eq!(rig.say(DraftInput::Later(30 * SECOND)), None);
        rig.text("three ");
        let before = rig.now;
        assert_eq!(rig.wait(), post(0, "One two three "));
        assert_eq!(rig.now - before, 30 * SECOND);
    }

    #[test]
    fn what_is_longer_than_a_message_goes_on_in_the_next() {
        let mut rig = Rig::new(|_| {});
        assert_eq!(rig.text("alpha beta gamma delta "), post(0, "alpha beta gamma delta "));
        rig.text("one two three four five six ");
        rig.say(DraftInput::Done);
        assert_eq!(rig.wait(), edit(0, "alpha beta gamma delta one two three "));
        rig.say(DraftInput::Done);
        assert_eq!(rig.wait(), post(1, "four five six "));
        rig.say(DraftInput::End);
        assert_eq!(rig.say(DraftInput::Done), Some(DraftOutput::Delivered));
    }

    #[test]
    fn an_attempt_that_goes_on_changes_what_the_one_before_had_posted() {
        let config = DraftConfig::new(Limit::new(40, Unit::Characters), SECOND);
        let mut rig = Rig { draft: Draft::new(config, 1), now: Instant::now() };
        assert_eq!(
            rig.text("The whole answer, which is longer than one message."),
            edit(0, "The whole answer, which is longer than ")
        );
        rig.say(DraftInput::End);
        rig.say(DraftInput::Done);
        assert_eq!(rig.wait(), post(1, "one message."));
        // And takes back what it does not say any more.
        let mut rig = Rig { draft: Draft::new(config, 2), now: Instant::now() };
        rig.text("Short.");
        assert_eq!(rig.say(DraftInput::End), edit(0, "Short."));
        rig.say(DraftInput::Done);
        assert_eq!(rig.wait(), Some(DraftOutput::Remove { part: 1 }));
        assert_eq!(rig.say(DraftInput::Done), Some(DraftOutput::Delivered));
    }

    #[test]
    fn without_previews_only_the_whole_is_shown() {
        let mut rig = Rig::new(|config| config.previews = false);
        assert_eq!(rig.text("One two three four five six seven eight nine ten"), None);
        assert_eq!(rig.say(DraftInput::End), post(0, "One two three four five six seven eight "));
    }

    fn inputs() -> impl Strategy<Value = Vec<(u64, DraftInput)>> {
        let text = prop_oneof![
            4 => "[a-z ]{1,30}", 1 => Just("```rust\n".to_owned()), 1 => Just("\n```\n".to_owned()), 1 => Just("\n".to_owned())
        ];
        let input = prop_oneof![
            4 => text.prop_map(DraftInput::Text),
            4 => Just(DraftInput::Done),
            1 => (0..5u64).prop_map(|seconds| DraftInput::Later(Duration::from_secs(seconds))),
        ];
        prop::collection::vec((0..1500u64, input), 0..60)
    }

    proptest! {
        #[test]
        fn any_history_keeps_the_law_and_ends_with_the_whole_answer(inputs in inputs(), posted in 0..3usize) {
            let config = DraftConfig::new(Limit::new(40, Unit::Utf16), SECOND);
            let start = Instant::now();
            let mut at = start;
            let dialogue: Vec<_> = inputs.into_iter().map(|(after, input)| {
                at += Duration::from_millis(after);
                (at, input)
            }).collect();
            let mut draft = Draft::new(config, posted);
            check_law(&mut draft, dialogue.clone());

            // And carried out as a provider would: what is shown in the end is the answer.
            let mut draft = Draft::new(config, posted);
            let mut shown = vec![String::new(); posted];
            let mut changed: Vec<Instant> = Vec::new();
            let texts = dialogue.into_iter().filter(|(_, input)| matches!(input, DraftInput::Text(_)));
            let mut now = start;
            let mut delivered = false;
            for (at, input) in texts.chain([(at, DraftInput::End)]) {
                now = now.max(at);
                draft.handle_input(now, input);
                let ended = draft.ended;
                loop {
                    match draft.poll_output() {
                        Some(DraftOutput::Post { part, text }) => {
                            prop_assert_eq!(part, shown.len());
                            shown.push(text);
                        }
                        Some(DraftOutput::Edit { part, text }) => shown[part] = text,
                        Some(DraftOutput::Remove { .. }) => {
                            shown.pop();
                        }
                        Some(DraftOutput::Delivered) => {
                            delivered = true;
                            break;
                        }
                        None => match draft.poll_timeout().filter(|_| ended) {
                            Some(due) => {
                                now = now.max(due);
                                draft.handle_timeout(now);
                                continue;
                            }
                            None => break,
                        },
                    }
                    changed.push(now);
                    draft.handle_input(now, DraftInput::Done);
                }
            }
            prop_assert!(delivered);
            prop_assert!(changed.windows(2).all(|pair| pair[1] - pair[0] >= SECOND), "no faster than allowed");
            let said: String = draft.text().split_whitespace().filter(|word| !word.starts_with("```")).collect();
            let seen: String = shown.concat().split_whitespace().filter(|word| !word.starts_with("```")).collect();
            prop_assert_eq!(seen, said, "{:?} of {:?}", shown, draft.text());
        }
    }
}
