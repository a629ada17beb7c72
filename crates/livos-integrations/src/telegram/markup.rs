//! Markdown, as models write it, as text with entities: code blocks, code, and bold.
//!
//! Telegram's own markup fails as a whole where one character is not escaped. Entities can't, and
//! what is not known here stays as it was written.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::methods::Span;
use crate::sender::Fence;

/// A text as it is shown, and what stands in it.
pub(super) fn render(text: &str) -> (String, Vec<Span>) {
    let mut shown = Shown::default();
    let mut block: Option<(Fence<'_>, usize)> = None;
    for line in text.trim().split_inclusive('\n') {
        match block {
            Some((fence, from)) if fence.is_closed_by(line) => {
                shown.end_block(fence, from);
                shown.push(if line.ends_with('\n') { "\n" } else { "" });
                block = None;
            }
            Some(_) => shown.push(line),
            None => match Fence::opened_by(line) {
                Some(fence) => block = Some((fence, shown.units)),
                None => shown.inline(line),
            },
        }
    }
    if let Some((fence, from)) = block {
        shown.end_block(fence, from);
    }
    shown.finish()
}

#[derive(Default)]
struct Shown {
    text: String,
    /// The length of the text in UTF-16 units.
    units: usize,
    spans: Vec<Span>,
}

impl Shown {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.units += text.encode_utf16().count();
    }

    fn span(&mut self, kind: &'static str, from: usize, language: Option<String>) {
        if self.units > from {
            self.spans.push(Span { kind, offset: from, length: self.units - from, language });
        }
    }

    fn end_block(&mut self, fence: Fence<'_>, from: usize) {
        let code = self.text.trim_end_matches(['\r', '\n']).len();
        if self.units > from {
            self.units -= self.text.len() - code;
            self.text.truncate(code);
        }
        let language = fence.info.split_whitespace().next().map(str::to_owned);
        self.span("pre", from.min(self.units), language);
    }

    /// A line outside of blocks.
    fn inline(&mut self, line: &str) {
        let mut rest = line;
        while let Some(at) = rest.find(['`', '*']) {
            let (before, from) = rest.split_at(at);
            self.push(before);
            let mark = if from.starts_with('*') { '*' } else { '`' };
            let (marks, inner) = from.split_at(from.len() - from.trim_start_matches(mark).len());
            let kind = match marks {
                "`" => Some("code"),
                "**" => Some("bold"),
                // As it stands, with all of its marks: `***` is no two of anything.
                _ => None,
            };
            let found = kind.and_then(|kind| Some((kind, inner.split_once(marks)?)));
            match found.filter(|(_, (inner, _))| !inner.is_empty() && inner.trim() == *inner) {
                Some((kind, (inner, after))) => {
                    let begin = self.units;
                    self.push(inner);
                    self.span(kind, begin, None);
                    rest = after;
                }
                None => {
                    self.push(marks);
                    rest = inner;
                }
            }
        }
        self.push(rest);
    }

    /// The server trims a text, and entities must not reach beyond it.
    fn finish(mut self) -> (String, Vec<Span>) {
        self.text.truncate(self.text.trim_end().len());
        let end = self.text.encode_utf16().count();
        self.spans.retain_mut(|span| {
            span.length = span.length.min(end.saturating_sub(span.offset));
            span.length > 0
        });
        (self.text, self.spans)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, shown: &str, spans: &[(&str, usize, usize)]) {
        let (text, found) = render(text);
        let found: Vec<_> = found.iter().map(|span| (span.kind, span.offset, span.length)).collect();
        assert_eq!((text.as_str(), found.as_slice()), (shown, spans));
    }

    #[test]
    fn code_and_bold_become_entities_counted_in_utf16() {
        check("plain", "plain", &[]);
        check("a **b c** d", "a b c d", &[("bold", 2, 3)]);
        check("😀 `x` and `y z`.", "😀 x and y z.", &[("code", 3, 1), ("code", 9, 3)]);
        check("See:\n```rust\nlet a;\n```\nDone.", "See:\nlet a;\nDone.", &[("pre", 5, 6)]);
        assert_eq!(render("```rust ignore\nx\n```").1[0].language.as_deref(), Some("rust"));
        check("```\nunclosed", "unclosed", &[("pre", 0, 8)]);
    }

    #[test]
    fn what_is_no_markup_stays() {
        for text in ["2 * 3 * 4", "a ** b ** c", "**", "``", "* item\n* item", "`", "x*y", "a `open"] {
            check(text, text, &[]);
        }
        check("```\n```", "", &[]);
        check("***both***", "***both***", &[]);
    }

    proptest! {
        #[test]
        fn no_entity_reaches_beyond_the_text_and_nothing_grows(text in "([a-z😀 ]|`|\\*|\\*\\*|```|\n){0,60}") {
            let (shown, spans) = render(&text);
            let end = shown.encode_utf16().count();
            prop_assert!(end <= text.encode_utf16().count());
            for span in spans {
                prop_assert!(span.length > 0 && span.offset + span.length <= end);
            }
        }
    }
}
