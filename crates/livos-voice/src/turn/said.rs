//! What the user has said in one turn, put together from interim and final transcripts.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use crate::stt::{Transcript, TranscriptKind};

/// The text of a turn so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// What the turn said before: in a part that was handed over but not answered, or that the
    /// provider took for a turn.
    before: String,
    finals: String,
    interim: String,
    /// The end of the audio of the interim words.
    interim_until: Duration,
    /// The end of the audio that the text covers.
    until: Duration,
}

/// How much before the end of what an earlier turn covered a word may begin and still be new.
/// 80 ms: recognisers place words that exactly, and no word is shorter.
const OVERLAP: Duration = Duration::from_millis(80);

/// Whether a span of audio is new, given what an earlier turn covered.
pub(super) fn is_new(start: Duration, end: Duration, covered: Duration) -> bool {
    start >= covered || (start + OVERLAP >= covered && end > covered)
}

impl Said {
    /// Adds what the recogniser heard. Audio before `covered` belongs to an earlier turn and counts
    /// for nothing.
    pub(super) fn hear(&mut self, transcript: &Transcript, covered: Duration) {
        let text = match is_new(transcript.start, transcript.end, covered) {
            true => transcript.text.trim().to_owned(),
            false => {
                let (new, old): (Vec<_>, Vec<_>) =
                    transcript.words.iter().partition(|word| is_new(word.start, word.end, covered));
                tracing::debug!(dropped = old.len(), kept = new.len(), "words that an earlier turn covered");
                new.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")
            }
        };
        self.until = self.until.max(transcript.end);
        match transcript.kind {
            TranscriptKind::Interim => {
                self.interim = text;
                self.interim_until = transcript.end;
            }
            // Recognisers finalize a short word to nothing although they have heard it: the interim
            // words stay, and become final if this covers them.
            TranscriptKind::Final if transcript.text.trim().is_empty() => {
                if transcript.end >= self.interim_until {
                    append(&mut self.finals, &std::mem::take(&mut self.interim));
                }
            }
            TranscriptKind::Final => {
                self.interim.clear();
                append(&mut self.finals, &text);
            }
        }
    }

    /// Replaces everything but the earlier part by the provider's own text of the whole turn.
    pub(super) fn settle(&mut self, whole: &str) {
        self.finals = whole.trim().to_owned();
        self.interim.clear();
    }

    /// Counts everything so far as said before what comes next.
    pub(super) fn keep(&mut self) {
        self.before = self.text();
        self.finals.clear();
        self.interim.clear();
    }

    /// Puts `before` in front.
    pub(super) fn precede(&mut self, before: &str) {
        let mut joined = before.to_owned();
        append(&mut joined, &self.before);
        self.before = joined;
    }

    /// True when something was said in this part of the turn.
    pub(super) fn has_words(&self) -> bool {
        !self.finals.is_empty() || !self.interim.is_empty()
    }

    /// The whole turn: the final words, then the interim ones where their final never came.
    pub(super) fn text(&self) -> String {
        let mut text = self.before.clone();
        append(&mut text, &self.finals);
        append(&mut text, &self.interim);
        text
    }

    /// The end of the audio that the text covers.
    pub(super) fn until(&self) -> Duration {
        self.until
    }
}

/// Whether two texts say the same: final words differ from interim ones in case and punctuation
/// first of all.
pub(super) fn same_words(one: &str, other: &str) -> bool {
    fn words(text: &str) -> impl Iterator<Item = char> + '_ {
        let bare = |word: &str| word.chars().any(char::is_alphanumeric);
        let plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | '\'' | '+' | '-' | '%');
        text.split_whitespace()
            .filter(move |word| bare(word))
            .flat_map(|word| word.chars().chain([' ']))
            .filter(move |c| plain(*c))
            .flat_map(char::to_lowercase)
    }
    words(one).eq(words(other))
}

fn append(text: &mut String, more: &str) {
    if !text.is_empty() && !more.is_empty() {
        text.push(' ');
    }
    text.push_str(more);
}

#[cfg(test)]
mod tests {
    use super::same_words;

    #[test]
    fn case_and_punctuation_do_not_make_another_text() {
        for (one, other, same) in [
            ("turn on the lamp", "Turn on the lamp.", true),
            ("what time is it", "What time is it?", true),
            ("one two", "one , two", true),
            ("one two", "onetwo", false),
            ("turn on the lamp", "Turn off the lamp.", false),
            ("two plus three", "2 plus 3", false),
            ("1.5", "-1.5", false),
            ("", "", true),
        ] {
            assert_eq!(same_words(one, other), same, "{one:?} {other:?}");
        }
    }
}
