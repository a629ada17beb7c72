//! Comments as data: their width, their shortest lines, and the words that style.md rules out.

use std::path::Path;

/// The widest comment line, in columns.
pub const MAX_COLUMNS: usize = 100;
/// A doc sentence with no more words than this rarely says more than the name below it.
pub const FEW_WORDS: usize = 3;
/// Words and phrases that plain English does not need. For `beside` say "next to" or "compared
/// with".
pub const WORDS: &[&str] = &[
    "anew",
    "beside",
    "for ever",
    "for who",
    "hereby",
    "herein",
    "shall",
    "thence",
    "therein",
    "thereof",
    "whence",
    "wherefrom",
    "wherein",
    "whoever",
    "whomever",
    "whosoever",
];

/// A place in a text and what is there.
pub struct Finding {
    /// `path:line`.
    pub place: String,
    /// The line or the word.
    pub what: String,
}

/// One comment line.
struct Line<'a> {
    number: usize,
    columns: usize,
    doc: bool,
    /// Inside a code block of a doc comment, or its fence.
    code: bool,
    /// After the marks `//`, `///` or `//!`.
    text: &'a str,
}

/// What the comments of one file show.
#[derive(Default)]
pub struct Prose {
    /// Doc lines that hold words.
    pub doc_lines: usize,
    /// Doc lines of at most [`FEW_WORDS`] words that are a paragraph of their own, not the end of a
    /// wrapped one.
    pub short: Vec<Finding>,
    /// Comment lines over [`MAX_COLUMNS`].
    pub wide: Vec<Finding>,
    /// Uses of [`WORDS`].
    pub words: Vec<Finding>,
}

/// Reads the comments of a Rust file.
pub fn comments(path: &Path, text: &str) -> Prose {
    let lines = lines(text);
    let find = |line: &Line<'_>| Finding {
        place: format!("{}:{}", path.display(), line.number),
        what: line.text.trim().to_owned(),
    };
    let short = (0..lines.len()).filter(|at| stands_alone(&lines, *at)).map(|at| &lines[at]);
    let wide = |line: &&Line<'_>| line.columns > MAX_COLUMNS && !line.code && !may_be_wide(line.text);
    let prose: Vec<(usize, &str)> =
        lines.iter().filter(|line| !line.code).map(|line| (line.number, line.text)).collect();
    Prose {
        doc_lines: lines.iter().filter(|line| line.is_doc_text()).count(),
        short: short.filter(|line| line.word_count() <= FEW_WORDS).map(find).collect(),
        wide: lines.iter().filter(wide).map(find).collect(),
        words: words(path, &prose),
    }
}

impl Line<'_> {
    fn is_doc_text(&self) -> bool {
        self.doc && !self.code && !self.text.trim().is_empty()
    }

    fn word_count(&self) -> usize {
        self.text.split_whitespace().count()
    }
}

/// Whether a line is a paragraph of its own: the short end of a wrapped sentence is not.
fn stands_alone(lines: &[Line<'_>], at: usize) -> bool {
    let line = &lines[at];
    let neighbour = |other: Option<&Line<'_>>, number: usize| {
        other.is_some_and(|other| other.number == number && other.is_doc_text())
    };
    let above = at.checked_sub(1).and_then(|at| lines.get(at));
    line.is_doc_text()
        && !is_table(line.text)
        && !neighbour(above, line.number - 1)
        && !neighbour(lines.get(at + 1), line.number + 1)
}

/// Uses of [`WORDS`] in a Markdown file, outside of its code.
pub fn markdown(path: &Path, text: &str) -> Vec<Finding> {
    let mut code = false;
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            lines.push((at + 1, line));
        }
    }
    words(path, &lines)
}

fn lines(text: &str) -> Vec<Line<'_>> {
    let (mut found, mut code) = (Vec::new(), false);
    for (at, line) in text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix("//") else {
            code = false;
            continue;
        };
        let (doc, text) = match comment.strip_prefix(['/', '!']) {
            Some(text) => (true, text),
            None => (false, comment),
        };
        let fence = doc && text.trim_start().starts_with("```");
        code ^= fence;
        found.push(Line { number: at + 1, columns: line.chars().count(), doc, code: code || fence, text });
    }
    found
}

fn is_table(text: &str) -> bool {
    text.trim_start().starts_with('|')
}

/// Tables, links and a long piece of `code` cannot be wrapped.
fn may_be_wide(text: &str) -> bool {
    let link = text.trim_start().starts_with('[') && text.contains("]: ");
    let code = text.split('`').step_by(2).all(|prose| !prose.contains(char::is_alphanumeric));
    is_table(text) || link || code || text.contains("://")
}

/// The words in lines that may break a phrase in two; `code` in backticks does not count.
fn words(path: &Path, lines: &[(usize, &str)]) -> Vec<Finding> {
    let spoken: Vec<(usize, String)> = lines
        .iter()
        .flat_map(|(number, line)| {
            let prose = line.split('`').step_by(2).collect::<Vec<_>>().join(" ` ");
            let words = prose.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '`');
            words
                .filter(|word| !word.is_empty())
                .map(|word| (*number, word.to_lowercase()))
                .collect::<Vec<_>>()
        })
        .collect();
    let mut found = Vec::new();
    for phrase in WORDS {
        let parts: Vec<&str> = phrase.split(' ').collect();
        for window in spoken.windows(parts.len()) {
            if window.iter().map(|(_, word)| word.as_str()).eq(parts.iter().copied()) {
                let place = format!("{}:{}", path.display(), window[0].0);
                found.push(Finding { place, what: (*phrase).to_owned() });
            }
        }
    }
    found
}
