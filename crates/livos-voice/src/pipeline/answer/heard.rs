//! What reached the listener of an answer: the words whose audio was played.
//!
//! A history that holds what was *generated* makes the agent refer to sentences that nobody heard.
//! Word times from the synthesiser and the position of the player tell how far the listener got.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use crate::tts::SpokenWord;

/// The words of one answer, placed in its audio.
#[derive(Debug, Clone, Default)]
pub struct HeardWords {
    words: Vec<SpokenWord>,
}

impl HeardWords {
    /// More words, in order.
    pub fn push(&mut self, words: impl IntoIterator<Item = SpokenWord>) {
        self.words.extend(words);
    }

    /// Audio and words from `at` on are void.
    pub fn truncate(&mut self, at: Duration) {
        self.words.retain(|word| word.start < at);
    }

    /// The part of `text` that was heard once `played` of `sent` audio was played.
    ///
    /// A word counts once half of it was played: less is not understood. If the synthesiser places
    /// no words, the played share of the audio is taken as the heard share of the text.
    pub fn text<'a>(&self, text: &'a str, played: Duration, sent: Duration) -> &'a str {
        if self.words.is_empty() {
            let share = if sent.is_zero() { 0.0 } else { played.as_secs_f64() / sent.as_secs_f64() };
            return whole_words(text, (text.len() as f64 * share.clamp(0.0, 1.0)) as usize);
        }
        let heard = self
            .words
            .iter()
            .take_while(|word| word.start + (word.end.saturating_sub(word.start)) / 2 <= played);
        let mut end = 0;
        for word in heard {
            end = match text[end..].find(word.text.trim()) {
                Some(at) => end + at + word.text.trim().len(),
                // A word that the synthesiser spells in its own way still takes its place in the
                // text.
                None => next_word(text, end),
            };
        }
        // The punctuation after a word belongs to it.
        let tail =
            text[end..].find(|c: char| c.is_alphanumeric() || c.is_whitespace()).unwrap_or(text.len() - end);
        &text[..if end == 0 { 0 } else { end + tail }]
    }
}

fn next_word(text: &str, from: usize) -> usize {
    let rest = &text[from..];
    let start = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
    let length = rest[start..].find(char::is_whitespace).unwrap_or(rest.len() - start);
    from + start + length
}

/// The whole words within the first `end` bytes.
fn whole_words(text: &str, end: usize) -> &str {
    if end >= text.len() {
        return text;
    }
    let end = (0..=end).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text[..end].rfind(char::is_whitespace).map_or("", |cut| &text[..cut])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Every word lasts 100 ms.
    fn spoken(words: &[&str]) -> HeardWords {
        let mut heard = HeardWords::default();
        heard.push(words.iter().zip(0u64..).map(|(word, at)| SpokenWord {
            text: (*word).to_owned(),
            start: ms(at * 100),
            end: ms(at * 100 + 100),
        }));
        heard
    }

    #[test]
    fn the_text_is_cut_after_the_last_word_heard() {
        let text = "Well, it is 20 °C, and sunny.";
        let heard = spoken(&["Well,", "it", "is", "twenty", "°C", "and", "sunny."]);
        for (played, expected) in [
            (0, ""),
            (49, ""),
            (50, "Well,"),
            (240, "Well, it"),
            (350, "Well, it is 20"),
            (450, "Well, it is 20 °C,"),
            (5000, text),
        ] {
            assert_eq!(heard.text(text, ms(played), ms(700)), expected, "{played}");
        }
    }

    #[test]
    fn void_words_were_not_heard() {
        let mut heard = spoken(&["one", "two", "three"]);
        heard.truncate(ms(100));
        assert_eq!(heard.text("one two three", ms(300), ms(300)), "one");
    }

    #[test]
    fn without_word_times_the_share_of_the_audio_counts() {
        let heard = HeardWords::default();
        assert_eq!(heard.text("one two three four", ms(500), ms(1000)), "one two");
        assert_eq!(heard.text("one two", ms(0), ms(0)), "");
        assert_eq!(heard.text("one two", ms(9), ms(9)), "one two");
    }

    proptest! {
        #[test]
        fn what_was_heard_is_a_growing_beginning_of_the_text(
            text in "\\PC{0,60}",
            words in prop::collection::vec("\\PC{0,5}", 0..8),
            mut times in prop::collection::vec(0u64..1000, 2),
        ) {
            times.sort_unstable();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let heard = spoken(&words);
            let (early, late) = (heard.text(&text, ms(times[0]), ms(900)), heard.text(&text, ms(times[1]), ms(900)));
            prop_assert!(text.starts_with(late) && late.starts_with(early));
        }
    }
}
