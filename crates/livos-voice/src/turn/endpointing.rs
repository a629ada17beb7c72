//! Endpointing: how much silence ends the user's turn, judged from what was said.
//!
//! A fixed delay is wrong both ways: long enough for a pause to think, it makes every answer slow;
//! short enough for a quick answer, it cuts people off in mid-sentence. The words tell the two
//! apart cheaply: a closed sentence waits `min_delay`, a dangling "and" waits `max_delay`, and text
//! without any sign waits half-way between.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use super::event::TurnConfig;

/// Whether a text looks like a finished turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completeness {
    /// A closed sentence, or a whole answer of one word.
    Finished,
    /// No sign either way.
    Unclear,
    /// More must follow: it ends in a comma, a filler or a word that cannot stand last.
    Unfinished,
}

/// Words that stand alone as a whole answer, without punctuation.
const WHOLE_ANSWERS: &[&str] = &[
    "yes", "yeah", "no", "nope", "ok", "okay", "stop", "thanks", "sure", "right", "hello", "hi", "bye",
    "please",
];

/// Words after which an English sentence goes on, and fillers that hold the floor.
const DANGLING: &[&str] = &[
    "a", "an", "and", "as", "at", "because", "but", "for", "from", "if", "in", "is", "like", "my", "of",
    "on", "or", "our", "so", "than", "that", "the", "their", "then", "to", "um", "uh", "er", "hmm", "well",
    "when", "which", "while", "with", "your",
];

/// How finished `text` looks. Languages other than English are judged by their punctuation alone.
pub fn completeness(text: &str) -> Completeness {
    let text = text.trim_end();
    let last_word = text.rsplit(char::is_whitespace).next().unwrap_or_default();
    let bare = last_word.trim_matches(|c: char| !c.is_alphanumeric());
    let among = |words: &[&str]| words.iter().any(|word| bare.eq_ignore_ascii_case(word));
    if text.ends_with("...") || text.ends_with(['…', ',', ';', ':', '-', '–', '、', '،']) {
        return Completeness::Unfinished;
    }
    // A recogniser closes "I want to." as readily as a person would not: the words weigh more than
    // the stop.
    if among(DANGLING) && !text.ends_with(['?', '!']) {
        return Completeness::Unfinished;
    }
    if text.ends_with(['.', '!', '?', '。', '！', '？', '؟', '।']) {
        return Completeness::Finished;
    }
    match !text.contains(char::is_whitespace) && among(WHOLE_ANSWERS) {
        true => Completeness::Finished,
        false => Completeness::Unclear,
    }
}

/// The silence after which a turn that says `text` is over.
pub fn delay(config: &TurnConfig, text: &str) -> Duration {
    // A configuration with the two exchanged must not make the wait negative.
    let longest = config.max_delay.max(config.min_delay);
    match completeness(text) {
        Completeness::Finished => config.min_delay,
        Completeness::Unclear => config.min_delay + (longest - config.min_delay) / 2,
        Completeness::Unfinished => longest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completeness_follows_punctuation_and_the_last_word() {
        use Completeness::*;
        for (text, expected) in [
            ("Turn on the lamp.", Finished),
            ("Really?", Finished),
            ("いいですか？", Finished),
            ("yes", Finished),
            ("turn on the lamp", Unclear),
            ("", Unclear),
            ("I would like to", Unfinished),
            ("I would like to.", Unfinished),
            ("What is it for?", Finished),
            ("first the milk,", Unfinished),
            ("and then...", Unfinished),
            ("um", Unfinished),
        ] {
            assert_eq!(completeness(text), expected, "{text:?}");
        }
    }

    #[test]
    fn the_delay_stays_between_its_bounds() {
        let config = TurnConfig::default();
        assert_eq!(delay(&config, "Done."), config.min_delay);
        assert_eq!(delay(&config, "well"), config.max_delay);
        let unclear = delay(&config, "turn on the lamp");
        assert!(config.min_delay < unclear && unclear < config.max_delay);
        let exchanged = TurnConfig { max_delay: Duration::ZERO, ..TurnConfig::default() };
        assert_eq!(delay(&exchanged, "well"), exchanged.min_delay);
    }
}
