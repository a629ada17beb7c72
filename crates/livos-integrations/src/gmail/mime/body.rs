//! Which parts of a mail are its text, and which are attached.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{borrow::Cow, fmt};

use bytes::Bytes;

use super::{
    charset, flowed,
    limits::MailLimits,
    transfer::{self, Encoding},
    tree::{Part, Tree},
};
use crate::gmail::{
    html,
    text::{is_blank, one_line, visible},
};

/// The most bytes of HTML of one mail that are rendered. 4 MiB.
const MAX_HTML: usize = 4 << 20;
/// The longest plain text that can be a mere note that a mail should be read as HTML.
const MAX_STUB: usize = 400;

/// An attachment with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// The file name that the sender chose, on one line. Never use it as a path: it may contain
    /// slashes and dots.
    pub name: String,
    /// The type that the sender claims, in lower case.
    pub mime_type: String,
    /// The bytes after the transfer encoding was removed.
    pub content: Bytes,
}

/// What was left out of a mail that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cut {
    /// What is behind so many bytes of the mail was not read.
    Mail(usize),
    /// Headers were too long.
    Headers,
    /// Parts were too many.
    Parts,
    /// The text was too long: so many bytes of it are shown.
    Text(usize),
    /// Attachments were too many: so many are kept.
    Attachments(usize),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mail(bytes) => write!(
                f,
                "only the first {bytes} bytes of the mail were read; attachments behind them are missing"
            ),
            Self::Headers => f.write_str("headers of the mail were too long and are not complete"),
            Self::Parts => f.write_str("the mail has too many parts; the last ones are missing"),
            Self::Text(bytes) => write!(f, "only the first {bytes} bytes of the text are shown"),
            Self::Attachments(most) => write!(f, "only the first {most} attachments are kept"),
        }
    }
}

/// The body of a mail.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub text: String,
    pub attachments: Vec<Attached>,
    pub cuts: Vec<Cut>,
}

impl Body {
    /// The text and the attachments of a mail.
    pub fn of(tree: &Tree<'_>, limits: &MailLimits, nearby: Option<&str>) -> Self {
        let mut reader =
            Reader { tree, limits, nearby, html_left: MAX_HTML, has_text: false, body: Self::default() };
        let shown = reader.read(0, Place::Body);
        reader.body.finish(shown.text, limits)
    }

    fn finish(mut self, text: String, limits: &MailLimits) -> Self {
        self.text = match visible(&text.replace("\r\n", "\n").replace('\r', "\n")) {
            Cow::Borrowed(text) => text.to_owned(),
            Cow::Owned(text) => text,
        };
        if self.text.len() > limits.text {
            self.text.truncate(self.text.floor_char_boundary(limits.text));
            self.cut(Cut::Text(limits.text));
        }
        self
    }

    fn cut(&mut self, cut: Cut) {
        if !self.cuts.contains(&cut) {
            self.cuts.push(cut);
        }
    }
}

/// Text to be shown, and whether it was HTML.
#[derive(Default)]
struct Shown {
    text: String,
    was_html: bool,
}

/// Where a part is, which decides what it is if it does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Body,
    /// One of several forms of the same text.
    Alternative,
    /// In a digest, where parts are mails.
    Digest,
    /// Something that another part refers to, such as a picture.
    Related,
}

struct Reader<'a, 'l> {
    tree: &'a Tree<'a>,
    limits: &'l MailLimits,
    nearby: Option<&'l str>,
    html_left: usize,
    /// Whether a text was found already. Later ones with a file name are attachments.
    has_text: bool,
    body: Body,
}

impl<'a> Reader<'a, '_> {
    /// The text of a part. What is attached in it is put with the other attachments.
    fn read(&mut self, at: usize, place: Place) -> Shown {
        let tree = self.tree;
        let Some(part) = tree.parts.get(at) else { return Shown::default() };
        if part.children.is_empty() {
            return self.leaf(part, place);
        }
        match part.info.sub.as_str() {
            "alternative" => {
                let forms: Vec<Shown> =
                    part.children.iter().map(|at| self.read(*at, Place::Alternative)).collect();
                best(forms)
            }
            "related" => {
                let (root, others) = part.children.split_at(1);
                let shown = self.read(root[0], place);
                // Programs that mean `mixed` write `related`, with the text anywhere.
                let shown_others: Vec<Shown> =
                    others.iter().map(|at| self.read(*at, Place::Related)).collect();
                if is_blank(&shown.text) { joined(shown_others) } else { shown }
            }
            "digest" => joined(part.children.iter().map(|at| self.read(*at, Place::Digest)).collect()),
            _ => joined(part.children.iter().map(|at| self.read(*at, Place::Body)).collect()),
        }
    }

    fn leaf(&mut self, part: &Part<'a>, place: Place) -> Shown {
        let Some(kind) = self.text_kind(part, place) else {
            self.attach(part, place);
            return Shown::default();
        };
        self.has_text = true;
        let is_html = kind == TextKind::Html;
        let body = transfer::text(part.body, part.info.encoding);
        let decode = |bytes: &[u8]| {
            charset::decode(bytes, self.charset_of(part, bytes, is_html).as_deref(), self.nearby)
        };
        let (before, text, behind) = (decode(body.before), decode(&body.content), decode(body.behind));
        let text = match kind {
            TextKind::Html => self.html(&text),
            TextKind::Plain if part.info.is_flowed => flowed::unflowed(&text, part.info.drops_spaces),
            TextKind::Plain => text,
        };
        let apart = if text.is_empty() || text.ends_with('\n') || behind.is_empty() { "" } else { "\n" };
        let text = if before.is_empty() && behind.is_empty() {
            text
        } else {
            [&before, &text, apart, &behind].concat()
        };
        Shown { text, was_html: is_html }
    }

    /// HTML may name its charset itself.
    fn charset_of(&self, part: &Part<'_>, bytes: &[u8], is_html: bool) -> Option<String> {
        let declared = part.info.charset.clone();
        if declared.is_some() || !is_html {
            declared
        } else {
            charset_named_in(&bytes[..bytes.len().min(1024)])
        }
    }

    fn html(&mut self, html: &str) -> String {
        let read = &html[..html.floor_char_boundary(self.html_left)];
        self.html_left -= read.len();
        let rendered = html::render(read, self.limits.text);
        if rendered.cut || read.len() < html.len() {
            self.body.cut(Cut::Text(rendered.text.len()));
        }
        rendered.text
    }

    /// How a part is shown; `None` if it is attached.
    fn text_kind(&self, part: &Part<'_>, place: Place) -> Option<TextKind> {
        let info = &part.info;
        let kind = match (info.main.as_str(), info.sub.as_str()) {
            // What is declared as a multipart and has no parts is a text.
            ("multipart", _) => return Some(TextKind::sniffed(part)),
            ("", _) if place == Place::Digest => return None,
            ("text", "html") | ("html", _) | ("application", "xhtml+xml") => TextKind::Html,
            ("text", "plain") => TextKind::Plain,
            ("text", "enriched" | "richtext") => TextKind::Html,
            (
                "text",
                "calendar" | "vcard" | "x-vcard" | "directory" | "rtf" | "css" | "csv" | "x-amp-html",
            ) if self.tree.parts.len() > 1 => return None,
            ("text" | "" | "plain", _) => TextKind::sniffed(part),
            _ => return None,
        };
        let is_named = info.name.is_some() && !info.is_inline && self.has_text;
        let is_file = info.is_attachment || is_named || place == Place::Related && info.main != "text";
        (!is_file).then_some(kind)
    }

    fn attach(&mut self, part: &Part<'a>, place: Place) {
        let limits = self.limits;
        let info = &part.info;
        // The other forms of a text, and what was cut in the middle, are nobody's file.
        if place == Place::Alternative && info.sub == "x-amp-html" || part.is_broken {
            return;
        }
        if self.body.attachments.len() >= limits.attachments {
            return self.body.cut(Cut::Attachments(limits.attachments));
        }
        let mime_type = match (info.main.as_str(), info.sub.as_str()) {
            ("", _) if place == Place::Digest => "message/rfc822".to_owned(),
            ("", _) => "application/octet-stream".to_owned(),
            (main, "") => format!("{main}/*"),
            (main, sub) => format!("{main}/{sub}"),
        };
        let content = match transfer::bytes(part.body, info.encoding) {
            Cow::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        self.body.attachments.push(Attached {
            name: one_line(info.name.as_deref().unwrap_or_default(), limits.line),
            mime_type: one_line(&mime_type, 127),
            content,
        });
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextKind {
    Plain,
    Html,
}

impl TextKind {
    /// By how a text begins, if its type does not say.
    fn sniffed(part: &Part<'_>) -> Self {
        if part.info.encoding == Encoding::Base64 {
            return Self::Plain;
        }
        let start = part.body.trim_ascii_start();
        let begins =
            |with: &[u8]| start.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
        if begins(b"<!doctype html") || begins(b"<html") { Self::Html } else { Self::Plain }
    }
}

/// Of several forms of one text, the plain one, unless it shows nothing or only tells to read
/// another.
fn best(forms: Vec<Shown>) -> Shown {
    let (html, plain): (Vec<Shown>, Vec<Shown>) =
        forms.into_iter().filter(|form| !is_blank(&form.text)).partition(|form| form.was_html);
    // Later forms are richer (RFC 2046, section 5.1.4).
    let html = html.into_iter().next_back();
    match (plain.into_iter().next(), html) {
        (Some(plain), Some(html)) if is_stub(&plain.text) => html,
        (Some(plain), _) => plain,
        (None, html) => html.unwrap_or_default(),
    }
}

/// "Please view this mail in a program that shows HTML." If it is no such note but a short text
/// about HTML, the other form says the same.
fn is_stub(plain: &str) -> bool {
    plain.len() <= MAX_STUB && plain.to_lowercase().contains("html")
}

fn joined(texts: Vec<Shown>) -> Shown {
    let mut all = Shown::default();
    for shown in texts.into_iter().filter(|shown| !shown.text.is_empty()) {
        if !all.text.is_empty() && !all.text.ends_with('\n') {
            all.text.push('\n');
        }
        all.text.push_str(&shown.text);
        all.was_html |= shown.was_html;
    }
    all
}

/// The charset that a piece of a mail or of HTML names.
pub(super) fn charset_named_in(bytes: &[u8]) -> Option<String> {
    const NAMED: &[u8] = b"charset=";
    let at = bytes.windows(NAMED.len()).position(|named| named.eq_ignore_ascii_case(NAMED))?;
    let rest = bytes.get(at + NAMED.len()..)?;
    let rest = rest.strip_prefix(b"\"").or(rest.strip_prefix(b"'")).unwrap_or(rest);
    let end = rest.iter().position(|byte| !(byte.is_ascii_alphanumeric() || b"-_:.".contains(byte)));
    let name = String::from_utf8_lossy(&rest[..end.unwrap_or(rest.len()).min(40)]).into_owned();
    (!name.is_empty()).then_some(name)
}
