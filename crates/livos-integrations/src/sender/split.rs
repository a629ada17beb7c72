//! A long text in parts, each within a provider's limit, cut where a reader would cut it.
//!
//! Providers refuse a message that is too long, and a bot that cuts at the byte shows half an
//! emoji, half a word, or a code block without its end. Here a text is cut between paragraphs, else
//! between lines, else between words, and in a word only between graphemes. A code block that fits
//! into one part is not broken; one that does not is closed at the end of a part and opened again,
//! with its language, in the next.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use unicode_segmentation::UnicodeSegmentation;

/// What a provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// UTF-16 code units, as Telegram: most emoji are two or more.
    Utf16,
    /// Unicode scalar values, as Discord.
    Characters,
}

/// How long a message may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    most: usize,
    unit: Unit,
}

impl Limit {
    /// The smallest limit there is: below it no code block could be closed and opened again.
    pub const LEAST: usize = 32;

    /// At most so many units, and [`Limit::LEAST`] where fewer are named.
    pub const fn new(most: usize, unit: Unit) -> Self {
        Self { most: if most < Self::LEAST { Self::LEAST } else { most }, unit }
    }

    /// The most units of a message.
    pub const fn most(self) -> usize {
        self.most
    }

    /// How long the provider finds this text.
    pub fn measure(self, text: &str) -> usize {
        match self.unit {
            Unit::Utf16 => text.encode_utf16().count(),
            Unit::Characters => text.chars().count(),
        }
    }
}

/// The parts of a text, each within the limit. Put together they are the text, but for the fences
/// that close a broken code block and open it again. Parts with nothing to see are left out,
/// because providers refuse them; so a blank text has no parts.
///
/// ```
/// use livos_integrations::sender::{Limit, Unit, split};
///
/// let limit = Limit::new(44, Unit::Utf16);
/// let parts = split("Here:\n```rust\nlet answer = 6 * 7;\nassert_eq!(answer, 42);\n```\n", limit);
/// assert_eq!(parts, [
///     "Here:\n```rust\nlet answer = 6 * 7;\n```",
///     "```rust\nassert_eq!(answer, 42);\n```\n",
/// ]);
/// ```
pub fn split(text: &str, limit: Limit) -> Vec<String> {
    pieces(text, limit, &[]).iter().filter(|piece| piece.is_visible()).map(Piece::to_string).collect()
}

/// A part of the text, and what is put round it.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    open: Option<Fence<'a>>,
    body: &'a str,
    close: Option<Fence<'a>>,
    /// Where it ends in the text.
    pub(super) end: usize,
}

impl Piece<'_> {
    /// Whether a reader sees anything.
    pub(super) fn is_visible(&self) -> bool {
        !self.body.trim().is_empty()
    }
}

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(fence) = self.open {
            writeln!(f, "{}{}", fence.marks, fence.info)?;
        }
        f.write_str(self.body)?;
        match self.close {
            Some(fence) if self.body.ends_with('\n') => f.write_str(fence.marks),
            Some(fence) => write!(f, "\n{}", fence.marks),
            None => Ok(()),
        }
    }
}

/// The line that opens a code block: at least three backticks or tildes, and the language.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence<'a> {
    marks: &'a str,
    /// What follows the marks: the language, and what a renderer may make of the rest.
    pub(crate) info: &'a str,
}

impl<'a> Fence<'a> {
    /// Indented as far as may be: models put blocks into lists.
    pub(crate) fn opened_by(line: &'a str) -> Option<Self> {
        let line = line.trim();
        let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
        let info = line.trim_start_matches(mark);
        let marks = line.strip_suffix(info)?;
        let inline = mark == '`' && info.contains('`');
        (marks.len() >= 3 && !inline).then_some(Self { marks, info })
    }

    pub(crate) fn is_closed_by(self, line: &str) -> bool {
        let line = line.trim();
        line.len() >= self.marks.len()
            && self.marks.chars().next().is_some_and(|mark| line.chars().all(|c| c == mark))
    }

    /// As it is written again, without its language where that would take much of a part.
    fn again(self, limit: Limit) -> Self {
        let info = if limit.measure(self.info) > limit.most / 4 { "" } else { self.info };
        Self { info, ..self }
    }
}

/// A code block, by bytes of the text.
#[derive(Debug)]
struct Block<'a> {
    fence: Fence<'a>,
    start: usize,
    /// After the line that opens it.
    inside: usize,
    /// The beginning of the line that closes it.
    closing: usize,
    /// After that line; the end of the text where there is none.
    end: usize,
}

impl Block<'_> {
    fn contains(&self, at: usize) -> bool {
        self.start < at && at < self.end
    }

    /// Whether a cut there would leave half a fence, or a block with nothing in it.
    fn has_fence_at(&self, at: usize) -> bool {
        (self.start < at && at <= self.inside) || (self.closing <= at && at < self.end)
    }
}

fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let (mut open, mut at) = (false, 0);
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        match (open, blocks.last_mut()) {
            (true, Some(block)) if block.fence.is_closed_by(line) => {
                (block.closing, block.end) = (at, next);
                open = false;
            }
            (true, _) => {}
            (false, _) => {
                if let Some(fence) = Fence::opened_by(line) {
                    blocks.push(Block {
                        fence,
                        start: at,
                        inside: next,
                        closing: text.len(),
                        end: text.len() + 1,
                    });
                    open = true;
                }
            }
        }
        at = next;
    }
    blocks
}

/// Where a cut may be, from the worst to the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Border {
    Fence,
    Grapheme,
    Word,
    Line,
    Paragraph,
}

/// How full a part must be for a cut at this border to be taken: otherwise a text of short
/// paragraphs and one long one would come in crumbs.
const fn least_of(border: Border, most: usize) -> usize {
    match border {
        Border::Paragraph | Border::Line => most / 2,
        Border::Word => most / 4,
        Border::Grapheme | Border::Fence => 0,
    }
}

/// The parts of a text that is cut at `cuts` already, which were found when it was shorter.
pub(super) fn pieces<'a>(text: &'a str, limit: Limit, cuts: &[usize]) -> Vec<Piece<'a>> {
    let blocks = blocks(text);
    let mut pieces: Vec<Piece<'_>> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let open = round(&blocks, at, limit);
        let known = cuts.get(pieces.len()).copied().filter(|end| *end > at && text.is_char_boundary(*end));
        let end = known.unwrap_or_else(|| cut(text, &blocks, at, open, limit));
        let mut piece = Piece { open, body: &text[at..end], close: round(&blocks, end, limit), end };
        // What came later may have made a block of a part that had no room for a fence.
        if known.is_some() && limit.measure(&piece.to_string()) > limit.most {
            (piece.open, piece.close) = (None, None);
        }
        pieces.push(piece);
        at = end;
    }
    pieces
}

/// The fence of the block that a cut there would break. A fence that is longer than a part can be
/// is left as it is.
fn round<'a>(blocks: &[Block<'a>], at: usize, limit: Limit) -> Option<Fence<'a>> {
    let after = blocks.partition_point(|block| block.start < at);
    let block =
        blocks[..after].last().filter(|block| block.inside <= at && at <= block.closing && at < block.end)?;
    (block.fence.marks.len() <= limit.most / 8).then(|| block.fence.again(limit))
}

/// The end of the part that begins at `at`, which is after it.
fn cut(text: &str, blocks: &[Block<'_>], at: usize, open: Option<Fence<'_>>, limit: Limit) -> usize {
    let opening = open.map_or(0, |fence| limit.measure(fence.marks) + limit.measure(fence.info) + 1);
    let (mut length, mut end) = (opening, at);
    let mut found: Vec<(Border, usize, usize)> = Vec::new();
    for grapheme in text[at..].graphemes(true) {
        length += limit.measure(grapheme);
        end += grapheme.len();
        if length > limit.most {
            break;
        }
        let close = round(blocks, end, limit)
            .map_or(0, |fence| fence.marks.len() + usize::from(!grapheme.ends_with('\n')));
        if length + close > limit.most {
            continue;
        }
        if end == text.len() {
            return end;
        }
        let border = border(text, blocks, end);
        found.retain(|(other, ..)| *other != border);
        found.push((border, length, end));
    }
    let furthest = found.iter().map(|(.., end)| *end).max();
    let Some(furthest) = furthest else { return force(text, at, opening, limit) };
    // A block that fits into a part of its own is not broken.
    let broken = blocks.iter().find(|block| block.contains(furthest) && block.start > at);
    if let Some(block) = broken
        && limit.measure(&text[block.start..block.end.min(text.len())]) <= limit.most
    {
        return block.start;
    }
    let good = |(border, length, _): &&(Border, usize, usize)| *length >= least_of(*border, limit.most);
    let best = found.iter().filter(good).max_by_key(|(border, ..)| *border);
    best.map_or(furthest, |(.., end)| *end)
}

fn border(text: &str, blocks: &[Block<'_>], at: usize) -> Border {
    let before = &text[..at];
    let after = blocks.partition_point(|block| block.start < at);
    let block = blocks[..after].last().filter(|block| block.contains(at));
    let begins = blocks.get(after).is_some_and(|block| block.start == at);
    let ended = after.checked_sub(1).is_some_and(|last| blocks[last].end == at);
    let blank = before.strip_suffix('\n').is_some_and(|line| line.ends_with('\n') || line.ends_with("\n\r"));
    match block {
        Some(block) if block.has_fence_at(at) => Border::Fence,
        None if begins || ended || blank => Border::Paragraph,
        _ if before.ends_with('\n') => Border::Line,
        _ if before.ends_with(char::is_whitespace) => Border::Word,
        _ => Border::Grapheme,
    }
}

/// A grapheme that is longer than a part: its characters, as many as fit.
fn force(text: &str, at: usize, opening: usize, limit: Limit) -> usize {
    // Room for a closing fence and its line, which `round` keeps below an eighth.
    let room = (limit.most - opening - limit.most / 8 - 1).max(2);
    let mut length = 0;
    let fits = |(_, c): &(usize, char)| {
        length += limit.measure(c.encode_utf8(&mut [0; 4]));
        length <= room
    };
    text[at..]
        .char_indices()
        .take_while(fits)
        .last()
        .map_or(text.len(), |(start, c)| at + start + c.len_utf8())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, most: usize, parts: &[&str]) {
        assert_eq!(split(text, Limit::new(most, Unit::Utf16)), parts, "{text:?}");
    }

    #[test]
    fn what_fits_stays_as_it_is() {
        check("", 100, &[]);
        check(" \n", 100, &[]);
        check("hello", 100, &["hello"]);
        check("```\nx\n```", 100, &["```\nx\n```"]);
    }

    #[test]
    fn a_text_is_cut_between_paragraphs_then_lines_then_words() {
        let (a, b) = ("alpha beta gamma delta", "one two three four five");
        check(&format!("{a}\n\n{b}"), 40, &[&format!("{a}\n\n"), b]);
        check(&format!("{a}\n{b}"), 40, &[&format!("{a}\n"), b]);
        check(&format!("{a} {b}"), 40, &["alpha beta gamma delta one two three ", "four five"]);
        check(&"x".repeat(70), 32, &[&"x".repeat(32), &"x".repeat(32), &"x".repeat(6)]);
    }

    #[test]
    fn a_short_beginning_is_no_reason_for_a_short_part() {
        let text = format!("Hi.\n\n{}", "word ".repeat(20));
        let parts = split(&text, Limit::new(60, Unit::Characters));
        assert!(parts[0].starts_with("Hi.\n\nword word"), "{parts:?}");
    }

    #[test]
    fn emoji_count_as_the_provider_counts_and_are_never_cut() {
        let family = "👨‍👩‍👧‍👦";
        let text = family.repeat(10);
        for (unit, each) in [(Unit::Utf16, 11), (Unit::Characters, 7)] {
            let limit = Limit::new(35, unit);
            assert_eq!(limit.measure(family), each);
            let parts = split(&text, limit);
            let whole =
                parts.iter().all(|part| part.replace(family, "").is_empty() && limit.measure(part) <= 35);
            assert!(whole && parts.concat() == text, "{parts:?}");
        }
    }

    #[test]
    fn a_block_that_fits_into_a_part_is_not_broken() {
        let block = "```py\nprint(1)\nprint(2)\n```\n";
        check(&format!("Some words first.\n{block}"), 40, &["Some words first.\n", block]);
        check(&format!("{block}Some words after it."), 40, &[block, "Some words after it."]);
    }

    #[test]
    fn a_long_block_is_closed_and_opened_again_with_its_language() {
        let text = "~~~rust,ignore\nlet a = 1;\nlet b = 2;\nlet c = 3;\nlet d = 4;\n~~~\nand it is done";
        let parts = split(text, Limit::new(48, Unit::Characters));
        assert_eq!(
            parts,
            [
                "~~~rust,ignore\nlet a = 1;\nlet b = 2;\n~~~",
                "~~~rust,ignore\nlet c = 3;\nlet d = 4;\n~~~\n",
                "and it is done",
            ]
        );
    }

    #[test]
    fn a_line_of_code_that_is_too_long_is_cut_in_its_block() {
        let text = format!("```\n{}\n```", "y".repeat(60));
        check(
            &text,
            40,
            &[&format!("```\n{}\n```", "y".repeat(32)), &format!("```\n{}\n```", "y".repeat(28))],
        );
    }

    #[test]
    fn code_in_a_line_and_fences_in_blocks_open_nothing() {
        assert!(blocks("```let x```\nand `y`\n").is_empty());
        let nested = blocks("````md\n```rs\ncode\n```\n````\nafter");
        assert_eq!((nested.len(), nested[0].fence.info), (1, "md"));
        assert_eq!(blocks("- item\n    ```sh\n    ls\n    ```\n").len(), 1, "in a list");
    }

    #[test]
    fn a_grapheme_without_end_is_cut_between_characters() {
        let text = format!("e{}", "\u{301}".repeat(100));
        let limit = Limit::new(40, Unit::Characters);
        let parts = split(&text, limit);
        assert!(parts.concat() == text && parts.iter().all(|part| limit.measure(part) <= 40));
    }

    fn texts() -> impl Strategy<Value = String> {
        let word =
            prop_oneof!["[a-zäß]{1,9}", "[0-9]{30,60}", Just("👩🏽‍🚀".to_owned()), Just("e\u{301}".to_owned())];
        let line = prop::collection::vec(word, 0..12).prop_map(|words| words.join(" "));
        let fence = prop_oneof![
            Just("```rust".to_owned()),
            Just("```".to_owned()),
            Just("~~~".to_owned()),
            Just("  ```".to_owned()),
            Just("````md x".to_owned()),
            Just(format!("```{}", "long".repeat(20))),
            "`{1,40}".prop_map(String::from),
        ];
        let end = prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\n\n")];
        let lines = (prop_oneof![4 => line, 1 => fence], end).prop_map(|(line, end)| line + end);
        prop::collection::vec(lines, 0..30).prop_map(|lines| lines.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn any_text_comes_back_from_its_parts_and_each_fits(text in prop_oneof![texts(), ".{0,300}"], most in 0..200usize) {
            for unit in [Unit::Utf16, Unit::Characters] {
                let limit = Limit::new(most, unit);
                let pieces = pieces(&text, limit, &[]);
                let joined: String = pieces.iter().map(|piece| piece.body).collect();
                prop_assert_eq!(&joined, &text);
                let borders: Vec<usize> = text.grapheme_indices(true).map(|(at, _)| at).chain([text.len()]).collect();
                let mut at = 0;
                for piece in &pieces {
                    let part = piece.to_string();
                    prop_assert!(limit.measure(&part) <= limit.most, "{} of {:?}", limit.measure(&part), limit);
                    prop_assert!(!piece.body.is_empty());
                    at += piece.body.len();
                    prop_assert!(borders.contains(&at), "a grapheme is cut at {}", at);
                }
            }
        }

        #[test]
        fn every_part_of_a_text_with_whole_blocks_has_whole_blocks(text in texts(), most in 120..400usize) {
            let text = text.replace(&"`".repeat(11), "");
            let open = blocks(&text).last().filter(|block| block.end > text.len()).map(|block| block.fence.marks.to_owned());
            let text = format!("{text}\n{}", open.unwrap_or_default());
            for part in split(&text, Limit::new(most, Unit::Utf16)) {
                prop_assert!(blocks(&part).iter().all(|block| block.end <= part.len()), "{:?}", part);
            }
        }

        #[test]
        fn short_words_are_never_cut(words in prop::collection::vec("[a-z]{1,8}", 1..200)) {
            let text = words.join(" ");
            let parts = split(&text, Limit::new(40, Unit::Characters));
            let found: Vec<String> = parts.iter().flat_map(|part| part.split_whitespace().map(str::to_owned)).collect();
            prop_assert_eq!(found, words);
        }
    }
}
