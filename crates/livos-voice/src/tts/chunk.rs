//! Cutting an answer into pieces to speak: the first clause at once, then whole sentences.
//!
//! Speech must begin before the model has finished (P-01). The first piece leaves as soon as it has
//! a few words and a natural end; later pieces are sentences, because prosody needs them and the
//! first clause has bought the time. The pieces joined are the text, to the byte: a provider joins
//! them verbatim, so nothing may be lost between them. Markup is not removed here; a voice answer
//! should hold none.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::{Duration, Instant};

/// How text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChunkConfig {
    /// Words that the first piece needs before a comma or the like may end it. 3: the provider
    /// advises three to four words, for latency and prosody.
    pub first_words: usize,
    /// Words after which the first piece ends without punctuation. 8: about two seconds of speech,
    /// enough to cover the next piece.
    pub first_words_at_most: usize,
    /// A pause of the model after which the first piece, if it has `first_words`, leaves as it is.
    /// 120 ms: longer than between two tokens.
    pub first_pause: Duration,
    /// Bytes after which a piece is cut at the last space, sentence or not. 400: half a minute of
    /// speech must not wait for a full stop.
    pub longest: usize,
}

impl Default for ChunkConfig {
    fn default() -> Self {
        Self { first_words: 3, first_words_at_most: 8, first_pause: Duration::from_millis(120), longest: 400 }
    }
}

/// Cuts the text of one answer into pieces.
#[derive(Debug, Clone)]
pub struct Chunker {
    config: ChunkConfig,
    /// Text that has not left yet.
    pending: String,
    first: bool,
    deadline: Option<Instant>,
}

impl Chunker {
    /// A chunker for one answer.
    pub fn new(config: ChunkConfig) -> Self {
        Self { config, pending: String::new(), first: true, deadline: None }
    }

    /// More text of the answer. Call [`Chunker::next_piece`] until it answers `None`.
    pub fn push(&mut self, now: Instant, text: &str) {
        self.pending.push_str(text);
        self.deadline = self.first.then(|| now + self.config.first_pause);
    }

    /// The next piece that is ready.
    pub fn next_piece(&mut self) -> Option<String> {
        let cut = self.cut()?;
        Some(self.leave(cut))
    }

    /// When the pause after the last token lets the first piece go.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// The first piece, where the pause has come and it has enough words. The last word may still
    /// grow, so it stays.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<String> {
        self.deadline.take_if(|at| *at <= now)?;
        let end = self.pending.rfind(char::is_whitespace)? + 1;
        // `rfind` found the first byte of the white space, which may be longer than one.
        let end = (end..=self.pending.len()).find(|at| self.pending.is_char_boundary(*at))?;
        let enough = self.pending[..end].split_whitespace().count() >= self.config.first_words;
        (self.first && enough && !is_space(&self.pending[..end])).then(|| self.leave(end))
    }

    /// No more text comes: what is left, if anything.
    pub fn finish(&mut self) -> Option<String> {
        self.deadline = None;
        (!self.pending.is_empty()).then(|| self.leave(self.pending.len()))
    }

    fn leave(&mut self, cut: usize) -> String {
        let rest = self.pending.split_off(cut);
        self.first = false;
        self.deadline = None;
        std::mem::replace(&mut self.pending, rest)
    }

    /// Where the next piece ends: after the white space that follows it, so that pieces join
    /// verbatim and begin with a word.
    fn cut(&self) -> Option<usize> {
        let text = self.pending.as_str();
        let mut words = 0;
        let mut in_word = false;
        let mut last_space = None;
        for (at, character) in text.char_indices() {
            if !character.is_whitespace() {
                in_word = true;
                continue;
            }
            let after = at + character.len_utf8();
            if in_word {
                words += 1;
                in_word = false;
                if self.ends_piece(&text[..at], words) {
                    return Some(after);
                }
            }
            if after >= self.config.longest {
                return Some(last_space.unwrap_or(after));
            }
            last_space = Some(after);
        }
        // A word without end (a hash, a language without spaces) must not grow forever either.
        if text.len() >= self.config.longest * 2 {
            return (self.config.longest..text.len()).find(|at| text.is_char_boundary(*at));
        }
        None
    }

    /// Whether a piece may end after this text, which ends with a whole word.
    fn ends_piece(&self, text: &str, words: usize) -> bool {
        let word = text.rsplit(char::is_whitespace).next().unwrap_or(text);
        if ends_sentence(word) {
            // "Sure." alone is a fine first piece; an abbreviation has been ruled out.
            return true;
        }
        let clause = word.trim_end_matches(CLOSING).ends_with([',', ';', ':', '–', '—', '،', '、', '，']);
        self.first && (words >= self.config.first_words && clause || words >= self.config.first_words_at_most)
    }
}

const CLOSING: [char; 8] = ['"', '\'', ')', ']', '}', '”', '’', '»'];

/// Whether a word ends a sentence, and is not an abbreviation, an initial or the number of a list.
fn ends_sentence(word: &str) -> bool {
    let word = word.trim_end_matches(CLOSING);
    if word.ends_with(['!', '?', '…', '。', '！', '？']) {
        return true;
    }
    let Some(stem) = word.strip_suffix('.') else { return false };
    let stem = stem.trim_start_matches(|c: char| !c.is_alphanumeric());
    let letters = stem.chars().count();
    let initial = letters == 1 && stem.chars().all(char::is_alphabetic) && stem != "I";
    let number = letters <= 2 && !stem.is_empty() && stem.chars().all(|c| c.is_ascii_digit());
    // "e.g.", "U.S.", "z.B."
    let dotted = stem.contains('.') && stem.split('.').all(|part| part.chars().count() <= 2);
    let known = ABBREVIATIONS.iter().any(|known| known.eq_ignore_ascii_case(stem));
    !(initial || number || dotted || known)
}

/// Common abbreviations that stand before more of the sentence.
const ABBREVIATIONS: [&str; 24] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "mt", "sr", "jr", "vs", "etc", "no", "vol", "fig", "approx",
    "inc", "ltd", "co", "bzw", "usw", "nr", "str", "ca", "hr",
];

fn is_space(text: &str) -> bool {
    text.chars().all(char::is_whitespace)
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, clippy::disallowed_types)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes the text a token at a time with no pause, and answers the pieces.
    fn pieces(tokens: &[&str]) -> Vec<String> {
        let (now, mut chunker, mut pieces) =
            (Instant::now(), Chunker::new(ChunkConfig::default()), Vec::new());
        for token in tokens {
            chunker.push(now, token);
            pieces.extend(std::iter::from_fn(|| chunker.next_piece()));
        }
        pieces.extend(chunker.finish());
        pieces
    }

    fn check(text: &str, expected: &[&str]) {
        let tokens: Vec<&str> = text.split_inclusive(' ').collect();
        assert_eq!(pieces(&tokens), expected);
    }

    #[test]
    fn the_first_clause_leaves_before_the_sentence_ends() {
        check(
            "Well, I think so, but let me look it up. It will take a moment. Done",
            &["Well, I think so, ", "but let me look it up. ", "It will take a moment. ", "Done"],
        );
    }

    #[test]
    fn a_first_sentence_without_commas_leaves_after_eight_words() {
        check(
            "one two three four five six seven eight nine ten. Eleven",
            &["one two three four five six seven eight ", "nine ten. ", "Eleven"],
        );
    }

    #[test]
    fn a_short_first_sentence_is_a_piece() {
        check("Sure! Here you go.", &["Sure! ", "Here you go."]);
    }

    #[test]
    fn numbers_and_abbreviations_and_addresses_are_not_cut() {
        check(
            "Dr. Smith pays 3.14 or 1,000 euros at e.g. https://a.example/x.y now. Next",
            &["Dr. Smith pays 3.14 or 1,000 euros at ", "e.g. https://a.example/x.y now. ", "Next"],
        );
    }

    #[test]
    fn a_pause_of_the_model_lets_the_first_words_go_but_not_half_a_word() {
        let (now, mut chunker) = (Instant::now(), Chunker::new(ChunkConfig::default()));
        chunker.push(now, "Let me see whe");
        assert_eq!(chunker.next_piece(), None);
        assert_eq!(chunker.handle_timeout(now + Duration::from_millis(119)), None);
        let later = now + Duration::from_millis(120);
        assert_eq!(chunker.poll_timeout(), Some(later));
        assert_eq!(chunker.handle_timeout(later).as_deref(), Some("Let me see "));
        assert_eq!((chunker.poll_timeout(), chunker.finish().as_deref()), (None, Some("whe")));
    }

    #[test]
    fn too_few_words_wait() {
        let (now, mut chunker) = (Instant::now(), Chunker::new(ChunkConfig::default()));
        chunker.push(now, "Let me ");
        assert_eq!(chunker.handle_timeout(now + Duration::from_secs(1)), None);
    }

    proptest! {
        #[test]
        fn the_pieces_joined_are_the_text(tokens in prop::collection::vec("[a-zé日,.!? \n]{0,12}|[x]{300}", 0..40)) {
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let pieces = pieces(&tokens);
            prop_assert_eq!(pieces.concat(), tokens.concat());
            prop_assert!(pieces.iter().all(|piece| piece.len() <= 4 * ChunkConfig::default().longest));
        }

        #[test]
        fn no_piece_ends_inside_a_word(text in "[a-z]{1,9}([,.]? [a-z]{1,9}){0,60}") {
            let tokens: Vec<String> = text.chars().map(String::from).collect();
            let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
            let pieces = pieces(&tokens);
            let all_but_last = pieces.len().saturating_sub(1);
            prop_assert!(pieces[..all_but_last].iter().all(|piece| piece.ends_with(' ')));
        }
    }
}
