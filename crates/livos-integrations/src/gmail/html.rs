//! The text that a person sees when a mail reader shows the HTML of a mail.
//!
//! A tokenizer reads the HTML once from front to back, and a stack of the open elements, bounded in
//! depth, decides what is shown and how lines break. No tree is built: deeply nested HTML makes a
//! tree builder quadratic, and a mail is written by a stranger. Blocks, rows and list items get
//! lines of their own, cells of a row stay apart, links keep their address, and text that a style
//! hides is left out, because it is written for machines and not for the reader.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod element;
mod link;
mod output;
mod style;
#[cfg(test)]
mod tests;

use html5gum::{DefaultEmitter, State, StringReader, Token, Tokenizer};

use self::{
    element::{Kind, Tag},
    output::Output,
    style::{Sheet, Style},
};

/// The most bytes of HTML that are read. 2 MiB: mail readers clip a mail at a twentieth of it.
const MAX_HTML: usize = 2 << 20;
/// The deepest nesting that is followed. 256: layouts of tables in tables reach a hundred. Deeper
/// elements are shown as if they were part of the last one.
const MAX_DEPTH: usize = 256;

/// The visible text of a piece of HTML.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Rendered {
    /// At most as many bytes as asked for.
    pub text: String,
    /// Whether text was left out because of a bound.
    pub cut: bool,
}

/// Renders HTML as text of at most `most` bytes.
pub(super) fn render(html: &str, most: usize) -> Rendered {
    let read = &html[..html.floor_char_boundary(MAX_HTML)];
    let mut renderer = Renderer::new(sheet_of(read), most);
    for token in tokens(read) {
        match token {
            Piece::Text(text) => renderer.text(&text),
            Piece::Start(tag) => renderer.start(tag),
            Piece::End(name) => renderer.end(&name),
        }
        if renderer.out.is_full() {
            break;
        }
    }
    renderer.finish(read.len() < html.len())
}

/// What the tokenizer found, reduced to what is shown.
enum Piece {
    Text(String),
    Start(Tag),
    End(String),
}

/// The pieces of HTML. Elements with raw content (scripts, styles) are read as browsers read them.
fn tokens(html: &str) -> impl Iterator<Item = Piece> {
    let mut tokenizer: Tokenizer<StringReader<'_>, DefaultEmitter> = Tokenizer::new(html);
    std::iter::from_fn(move || {
        loop {
            let Ok(token) = tokenizer.next()?;
            return Some(match token {
                Token::String(text) => Piece::Text(String::from_utf8_lossy(&text).into_owned()),
                Token::EndTag(tag) => Piece::End(String::from_utf8_lossy(&tag.name).into_owned()),
                Token::StartTag(tag) => {
                    if let Some(state) = raw_content(&tag.name) {
                        tokenizer.set_state(state);
                    }
                    Piece::Start(Tag::from(tag))
                }
                Token::Comment(_) | Token::Doctype(_) | Token::Error(_) => continue,
            });
        }
    })
}

/// How the content of an element is read if it is no markup. A mail reader runs no scripts, so
/// `noscript` is ordinary content.
fn raw_content(name: &[u8]) -> Option<State> {
    match name {
        b"title" | b"textarea" => Some(State::RcData),
        b"script" => Some(State::ScriptData),
        b"style" | b"iframe" | b"xmp" | b"noembed" | b"noframes" => Some(State::RawText),
        b"plaintext" => Some(State::PlainText),
        _ => None,
    }
}

/// The rules of all style elements, which hold for the whole document.
fn sheet_of(html: &str) -> Sheet {
    let mut sheet = Sheet::default();
    let mut in_style = false;
    for piece in tokens(html) {
        match piece {
            Piece::Start(tag) => in_style = tag.name == "style",
            Piece::Text(text) if in_style => sheet.read(&text),
            _ => in_style = false,
        }
    }
    sheet
}

/// An element whose end was not seen yet.
struct Open {
    name: String,
    kind: Kind,
    style: Style,
    /// The address that it links to, and where its label begins in the output.
    link: Option<(String, usize)>,
    /// The number of the next item of a list; `None` for items without numbers.
    next_item: Option<i64>,
    /// Whether it opened a frame of the output.
    framed: bool,
    /// What is written when it ends, such as a closing quote.
    after: &'static str,
}

struct Renderer {
    sheet: Sheet,
    open: Vec<Open>,
    /// Elements that are open beyond the deepest one that is followed.
    ignored: usize,
    out: Output,
}

impl Renderer {
    fn new(sheet: Sheet, most: usize) -> Self {
        Self { sheet, open: Vec::new(), ignored: 0, out: Output::new(most) }
    }

    fn style(&self) -> Style {
        self.open.last().map_or_else(|| self.sheet.initial(), |open| open.style)
    }

    fn is_in(&self, kind: Kind) -> bool {
        self.open.iter().any(|open| open.kind == kind)
    }

    fn text(&mut self, text: &str) {
        let style = self.style();
        if style.is_shown() {
            self.out.text(text, style.keeps_space);
        }
    }

    fn start(&mut self, tag: Tag) {
        let kind = Kind::of(&tag.name);
        self.close_implied(kind);
        if kind == Kind::Cell && !self.is_row_open() {
            self.push(Tag::named("tr"), Kind::Row);
        }
        if kind.is_void() {
            self.void(&tag, kind);
        } else if self.open.len() < MAX_DEPTH {
            self.push(tag, kind);
        } else {
            self.ignored += 1;
        }
    }

    /// An element without content.
    fn void(&mut self, tag: &Tag, kind: Kind) {
        if !self.style().with(&self.sheet, tag).is_shown() {
            return;
        }
        match kind {
            Kind::Break => self.out.line_feed(),
            Kind::Rule => {
                self.out.block(2);
                self.out.text("---", false);
                self.out.block(2);
            }
            Kind::Image if !tag.is_pixel() => {
                self.out.text(tag.attribute("alt").unwrap_or_default(), false);
                if let Some(address) = tag.attribute("href").and_then(link::address) {
                    let here = self.out.mark();
                    self.out.link(&address, here);
                }
            }
            _ => {}
        }
    }

    fn push(&mut self, tag: Tag, kind: Kind) {
        let mut style = self.style().with(&self.sheet, &tag);
        style.keeps_space |= kind == Kind::Preformatted;
        if kind == Kind::Dropped {
            style.drop_all();
        }
        let shown = style.is_shown();
        if shown {
            self.out.block(kind.space_around(self.is_in(Kind::Item)));
        }
        let framed = shown && self.open_frame(&tag, kind);
        let (before, after) = if shown { kind.marks(self.out.last_char()) } else { ("", "") };
        self.out.write(before);
        let link = (kind == Kind::Link && shown)
            .then(|| Some((link::address(tag.attribute("href")?)?, self.out.mark())))
            .flatten();
        let next_item = (tag.name == "ol").then(|| tag.number("start").unwrap_or(1));
        self.open.push(Open { name: tag.name, kind, style, link, next_item, framed, after });
    }

    fn open_frame(&mut self, tag: &Tag, kind: Kind) -> bool {
        match kind {
            Kind::Row => self.out.open_row(),
            Kind::Cell => self.out.open_cell(),
            Kind::Quote => self.out.open_prefixed("> ".to_owned(), "> ".to_owned()),
            Kind::Item => {
                let marker = self.marker(tag);
                let indent = " ".repeat(marker.len());
                self.out.open_prefixed(marker, indent)
            }
            _ => false,
        }
    }

    /// What stands before an item: its number, or a dash.
    fn marker(&mut self, tag: &Tag) -> String {
        let list = self.open.iter_mut().rev().find(|open| open.kind == Kind::List);
        match list.and_then(|list| list.next_item.as_mut()) {
            Some(next) => {
                let number = tag.number("value").unwrap_or(*next);
                *next = number.saturating_add(1);
                format!("{number}. ")
            }
            None => "- ".to_owned(),
        }
    }

    fn end(&mut self, name: &str) {
        if self.ignored > 0 {
            self.ignored -= 1;
            return;
        }
        let kind = Kind::of(name);
        if kind == Kind::Break {
            return self.out.line_feed();
        }
        let open = self.open.iter().rposition(|open| open.name == name || kind.ends_within(open.kind));
        if let Some(at) = open.filter(|at| self.open.get(*at).is_some_and(|open| open.name == name)) {
            self.close_from(at);
        }
    }

    /// Closes what the start of such an element closes although no end tag says so: a paragraph
    /// before a block, an item before the next one, a cell or a row before the next one.
    fn close_implied(&mut self, kind: Kind) {
        while let Some(at) =
            self.open.iter().rposition(|open| kind.closes(open.kind) || kind.stops_at(open.kind))
        {
            if !self.open.get(at).is_some_and(|open| kind.closes(open.kind)) {
                return;
            }
            self.close_from(at);
        }
    }

    fn is_row_open(&self) -> bool {
        let found = self.open.iter().rev().find(|open| matches!(open.kind, Kind::Row | Kind::Table));
        found.is_some_and(|open| open.kind == Kind::Row)
    }

    fn close_from(&mut self, at: usize) {
        while self.open.len() > at {
            let Some(open) = self.open.pop() else { return };
            if let Some((address, from)) = &open.link {
                self.out.link(address, *from);
            }
            self.out.write(open.after);
            if open.framed {
                self.out.close_frame();
            }
            if open.style.is_shown() {
                self.out.block(open.kind.space_around(self.is_in(Kind::Item)));
            }
        }
    }

    fn finish(mut self, cut: bool) -> Rendered {
        self.close_from(0);
        let (text, full) = self.out.finish();
        Rendered { text, cut: cut || full }
    }
}
