//! The parts of a mail, found in one pass over its lines.
//!
//! Programs that write mails get boundaries wrong: they name one and write another, forget to
//! close an inner multipart, or name none at all. So the boundaries of all multiparts that are open
//! are looked for at each line, an outer one ends what is inside of it, one that was not announced
//! is recognised by the headers behind it, and a multipart without parts is a text.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{
    header::{BodyInfo, Head},
    limits::MailLimits,
};

/// The deepest nesting of multiparts. 50: each level takes a look at each boundary.
const MAX_DEPTH: usize = 50;

/// How far it is looked for another boundary that was not announced, in bytes.
const MAX_SEARCH: usize = 64 << 10;

/// A part: a multipart with its children, or a body.
#[derive(Debug, Default)]
pub(super) struct Part<'a> {
    pub info: BodyInfo,
    /// Indices into [`Tree::parts`].
    pub children: Vec<usize>,
    pub body: &'a [u8],
    /// Whether the mail was cut within this body.
    pub is_broken: bool,
}

/// The parts of a mail. The first is the mail itself.
#[derive(Debug, Default)]
pub(super) struct Tree<'a> {
    pub parts: Vec<Part<'a>>,
    /// Whether parts were left out.
    pub cut: bool,
}

/// A multipart that is open.
struct Level {
    part: usize,
    boundary: Option<Vec<u8>>,
    body: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// None of its boundaries was seen yet.
    Preamble,
    Parts,
    /// It was closed. Its boundary opens it again.
    Closed,
}

struct Builder<'a, 'n> {
    raw: &'a [u8],
    limits: &'n MailLimits,
    nearby: Option<&'n str>,
    tree: Tree<'a>,
    levels: Vec<Level>,
    /// The body that is being read: its part, and where it begins.
    leaf: Option<(usize, usize)>,
}

impl<'a> Tree<'a> {
    /// Takes a mail apart. `nearby` is the charset of headers that name none.
    pub fn build(raw: &'a [u8], is_cut: bool, limits: &MailLimits, nearby: Option<&str>) -> Self {
        let mut builder =
            Builder { raw, limits, nearby, tree: Self::default(), levels: Vec::new(), leaf: None };
        let mut at = builder.part(0);
        while let Some(line) =
            raw.get(at..).and_then(|rest| rest.split_inclusive(|byte| *byte == b'\n').next())
        {
            at = match builder.boundary(line, at + line.len()) {
                None => at + line.len(),
                Some(_) if builder.tree.parts.len() >= limits.parts => {
                    builder.tree.cut = true;
                    break;
                }
                Some((level, is_close)) => builder.cross(level, is_close, at, at + line.len()),
            };
        }
        builder.finish(at.min(raw.len()), is_cut)
    }
}

impl<'a> Builder<'a, '_> {
    /// Reads the headers of a part; answers where its body begins.
    fn part(&mut self, at: usize) -> usize {
        let is_end = |line: &[u8]| self.matching(line).is_some();
        let (head, length) = Head::read(&self.raw[at..], self.limits.headers, self.nearby, is_end);
        self.tree.cut |= head.cut;
        let info = head.body();
        let (part, body) = (self.tree.parts.len(), at + length);
        if let Some(level) = self.levels.last() {
            self.tree.parts[level.part].children.push(part);
        }
        if info.main == "multipart" && self.levels.len() < MAX_DEPTH {
            let boundary =
                info.boundary.clone().filter(|boundary| !boundary.is_empty()).map(String::into_bytes);
            self.levels.push(Level { part, boundary, body, state: State::Preamble });
        } else {
            self.leaf = Some((part, body));
        }
        self.tree.parts.push(Part { info, ..Part::default() });
        body
    }

    /// The level whose boundary a line is, and whether it closes it. `next` is where the next line
    /// begins.
    fn boundary(&mut self, line: &[u8], next: usize) -> Option<(usize, bool)> {
        if let Some(found) = self.matching(line) {
            return Some(found);
        }
        let innermost = self.levels.len().checked_sub(1)?;
        let named = line.trim_ascii_end().strip_prefix(b"--").filter(|name| !name.is_empty())?;
        let level = self.levels.get_mut(innermost)?;
        let is_unannounced = self.leaf.is_none() && level.state == State::Preamble;
        if is_unannounced && begins_part(self.raw.get(next..)?, line) {
            level.boundary = Some(named.to_vec());
            return Some((innermost, false));
        }
        None
    }

    fn matching(&self, line: &[u8]) -> Option<(usize, bool)> {
        let named = line.trim_ascii_end().strip_prefix(b"--")?;
        let find = |level: &Level| {
            let boundary = level.boundary.as_deref()?;
            let rest = named.strip_prefix(boundary)?;
            (rest.is_empty() || rest == b"--").then_some(!rest.is_empty())
        };
        // Of two with the same boundary, the inner one, until it is closed.
        let of = |closed: bool| {
            let levels = self.levels.iter().enumerate().rev();
            let mut levels = levels.filter(move |(_, level)| (level.state == State::Closed) == closed);
            levels.find_map(|(at, level)| Some((at, find(level)?)))
        };
        of(false).or_else(|| of(true))
    }

    /// A boundary of a level: what is inside of it ends, and a part may begin. Answers where to go
    /// on.
    fn cross(&mut self, level: usize, is_close: bool, line: usize, next: usize) -> usize {
        self.end_leaf(line, false);
        self.end_levels(level + 1, line);
        let Some(level) = self.levels.last_mut() else { return next };
        level.state = if is_close { State::Closed } else { State::Parts };
        if is_close { next } else { self.part(next) }
    }

    fn end_leaf(&mut self, end: usize, is_broken: bool) {
        if let Some((part, begin)) = self.leaf.take() {
            let part = &mut self.tree.parts[part];
            part.body = without_break(&self.raw[begin.min(end)..end], end < self.raw.len());
            part.is_broken = is_broken;
        }
    }

    /// Multiparts from this level on end. One without parts is a text.
    fn end_levels(&mut self, from: usize, end: usize) {
        for level in self.levels.drain(from.min(self.levels.len())..) {
            let part = &mut self.tree.parts[level.part];
            if part.children.is_empty() {
                part.body = without_break(&self.raw[level.body.min(end)..end], end < self.raw.len());
            }
        }
    }

    fn finish(mut self, end: usize, is_cut: bool) -> Tree<'a> {
        self.end_leaf(end, is_cut);
        self.end_levels(0, end);
        self.tree
    }
}

/// Whether a part begins behind a line that looks like a boundary: with its headers, or with none
/// if the same line comes again.
fn begins_part(behind: &[u8], line: &[u8]) -> bool {
    const NAMED: &[u8] = b"content-";
    let has_headers = behind.get(..NAMED.len()).is_some_and(|start| start.eq_ignore_ascii_case(NAMED));
    let is_empty = |line: &[u8]| line.trim_ascii().is_empty();
    let mut lines = behind[..behind.len().min(MAX_SEARCH)].split_inclusive(|byte| *byte == b'\n');
    has_headers
        || lines.next().is_some_and(is_empty) && lines.any(|other| other.starts_with(line.trim_ascii_end()))
}

/// The line break before a boundary belongs to the boundary.
fn without_break(body: &[u8], is_before_boundary: bool) -> &[u8] {
    if !is_before_boundary {
        return body;
    }
    body.strip_suffix(b"\r\n").or(body.strip_suffix(b"\n")).unwrap_or(body)
}
