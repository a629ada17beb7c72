//! Text that a stranger wrote, without the characters that nobody sees: they reorder what is read,
//! hide words from a filter, or smuggle text to a machine.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;

use unicode_segmentation::UnicodeSegmentation as _;

/// Characters that are not seen, or that change the order in which others are.
///
/// Joiners are not among them, nor variation selectors: scripts and emoji need them.
pub(super) fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}'
    )
}

/// Characters that mean something between two letters of some scripts, and nothing elsewhere: the
/// joiners, and the grapheme joiner.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{34f}')
}

/// Without unseen characters, and with joiners only between characters that they can join. Line
/// breaks and tabs stay; other control characters do not.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| !is_unseen(c) && !is_joiner(c) && (!c.is_control() || matches!(c, '\n' | '\t'));
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let joins = |c: char| !c.is_ascii() && !c.is_whitespace() && !c.is_control() && !is_joiner(c);
    let mut kept = String::with_capacity(text.len());
    let mut characters = text.chars().filter(|c| is_joiner(*c) || is_plain(*c)).peekable();
    let mut before = None;
    while let Some(c) = characters.next() {
        let stands =
            !is_joiner(c) || before.is_some_and(joins) && characters.peek().is_some_and(|next| joins(*next));
        if stands {
            kept.push(c);
        }
        before = Some(c);
    }
    Cow::Owned(kept)
}

/// Whether a text shows nothing: white space, and characters that nobody sees.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || is_unseen(c)
            || is_joiner(c)
            || matches!(c, '\u{2800}' | '\u{115f}')
    })
}

/// Text of a header, which may hold encoded line breaks, on one line of so many bytes at the most.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        let word = visible(word);
        if word.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
        if line.len() > most {
            line.truncate(line.floor_char_boundary(most));
            break;
        }
    }
    line
}

/// The beginning of a line, of so many characters at the most. What a person sees as one character
/// is not cut apart.
pub(super) fn shortened(line: &str, most: usize) -> String {
    let Some((end, _)) = line.char_indices().nth(most) else { return line.to_owned() };
    let whole = line.grapheme_indices(true).map(|(at, _)| at).take_while(|at| *at <= end).last();
    let end = whole.filter(|at| *at > 0).unwrap_or(end);
    format!("{}…", line[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_scripts_need_stays_and_what_nobody_sees_goes() {
        for text in ["می‌خواهم", "क्‍ष", "พรุ่งนี้", "e\u{301}", "👩‍💻 ❤️", "£20 ¥3,000 #1 a_b", "שלום"]
        {
            assert_eq!(visible(text), text);
        }
        for (text, seen) in [
            ("pay\u{200b}pal\u{ad}", "paypal"),
            ("a\u{202e}b\u{2066}c\u{200f}", "abc"),
            ("\u{200c} \u{34f}\u{200c}\u{a0}\u{200c}x", " \u{a0}x"),
            ("a\u{200d}b", "ab"),
            ("hi\u{e0041}\u{e0042}", "hi"),
            ("a\0\u{7}\u{85}b\nc\td", "ab\nc\td"),
        ] {
            assert_eq!(visible(text), seen, "{text:?}");
        }
        assert!(is_blank(" \u{200c}\u{a0}\u{34f}\u{feff}\n") && !is_blank("."));
    }

    #[test]
    fn a_line_is_shortened_between_characters_as_people_see_them() {
        assert_eq!(shortened("e\u{301}e\u{301}e\u{301}", 3), "e\u{301}…");
        assert_eq!(shortened("👩‍💻👩‍💻", 4), "👩‍💻…");
        assert_eq!(shortened("short", 5), "short");
        assert_eq!(shortened(&format!("a{}", "\u{301}".repeat(99)), 5).chars().count(), 6);
    }

    proptest! {
        #[test]
        fn a_line_has_no_control_characters_and_its_length(text in "\\PC{0,40}|[\\x00-\u{ff}\u{200b}-\u{206f}]{0,40}", most in 0usize..60) {
            let line = one_line(&text, most);
            prop_assert!(line.len() <= most && !line.chars().any(|c| c.is_control() || is_unseen(c)));
        }
    }
}
