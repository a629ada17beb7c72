//! The headers of a mail or of a part, as lines that a strict reader understands: unfolded, in
//! UTF-8, with sound encoded words.

use std::ops::Range;

use mail_parser::{Message, MessageParser, MimeHeaders};

use super::{charset, transfer::Encoding, word};

/// The most bytes of one header. 64 KiB: a list of a thousand addresses.
const MAX_FIELD: usize = 64 << 10;

/// Headers, ready to be read.
#[derive(Debug, Default)]
pub(super) struct Head {
    lines: String,
    /// Whether something was left out.
    pub cut: bool,
}

impl Head {
    /// Reads headers of `most` bytes at the most from the beginning of `raw`; answers where the
    /// body begins. They end at an empty line, at one that is no header, or where `is_end` says.
    pub fn read(
        raw: &[u8],
        most: usize,
        nearby: Option<&str>,
        is_end: impl Fn(&[u8]) -> bool,
    ) -> (Self, usize) {
        let mut head = Self::default();
        let (fields, body) = fields(raw, is_end);
        for field in fields {
            let field = &raw[field];
            if head.lines.len() + field.len().min(MAX_FIELD) > most {
                head.cut = true;
                continue;
            }
            head.cut |= field.len() > MAX_FIELD;
            head.add(&field[..field.len().min(MAX_FIELD)], nearby);
        }
        head.lines.push_str("\r\n");
        (head, body)
    }

    fn add(&mut self, field: &[u8], nearby: Option<&str>) {
        let text = charset::decode(field, None, nearby);
        let Some((name, value)) = text.split_once(':') else { return };
        let name: String = name.trim().chars().filter(char::is_ascii_graphic).collect();
        let value = value.replace("\r\n", "").replace(|c: char| c.is_control(), " ");
        self.lines.extend([name.as_str(), ": ", word::normalised(value.trim()).as_str(), "\r\n"]);
    }

    /// The headers, read. None if there are none.
    pub fn message(&self) -> Option<Message<'_>> {
        MessageParser::default().parse_headers(&self.lines)
    }

    /// The value of a header as it was written, with encoded words decoded.
    pub fn text(&self, name: &str) -> Option<String> {
        let mut fields = self.lines.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| word::decoded(value.trim()))
    }

    /// What the headers of a part say about its body.
    pub fn body(&self) -> BodyInfo {
        let Some(message) = self.message() else { return BodyInfo::default() };
        let kind = message.content_type();
        let attribute = |name| kind.and_then(|kind| kind.attribute(name)).map(str::to_owned);
        let (main, sub) = kind.map_or((String::new(), String::new()), |kind| {
            let sub = kind.subtype().unwrap_or_default().trim().to_lowercase();
            (kind.ctype().trim().to_lowercase(), sub)
        });
        let is_attachment =
            message.content_disposition().is_some_and(mail_parser::ContentType::is_attachment);
        let is_inline = message.content_disposition().is_some_and(mail_parser::ContentType::is_inline);
        let encoding = self.text("Content-Transfer-Encoding").unwrap_or_default();
        BodyInfo {
            main,
            sub,
            charset: attribute("charset"),
            boundary: attribute("boundary").map(|boundary| boundary.trim_end().to_owned()),
            name: message.attachment_name().map(str::to_owned),
            encoding: Encoding::named(&encoding),
            is_attachment,
            is_inline,
            is_flowed: attribute("format").is_some_and(|format| format.eq_ignore_ascii_case("flowed")),
            drops_spaces: attribute("delsp").is_some_and(|delsp| delsp.eq_ignore_ascii_case("yes")),
        }
    }
}

/// What is known about a body.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyInfo {
    /// `text` of `text/plain`, in lower case; empty if no type is named.
    pub main: String,
    pub sub: String,
    pub charset: Option<String>,
    pub boundary: Option<String>,
    /// The name of a file.
    pub name: Option<String>,
    pub encoding: Encoding,
    pub is_attachment: bool,
    pub is_inline: bool,
    pub is_flowed: bool,
    /// Of a flowed text: whether the space at the end of a line is not part of the text.
    pub drops_spaces: bool,
}

/// Where each header is, and where the body begins.
fn fields(raw: &[u8], is_end: impl Fn(&[u8]) -> bool) -> (Vec<Range<usize>>, usize) {
    let mut fields: Vec<Range<usize>> = Vec::new();
    let mut at = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let end = at + line.len();
        let is_continued = line.starts_with(b" ") || line.starts_with(b"\t");
        if line.trim_ascii().is_empty() {
            // White space alone continues a header only if another line does.
            let next = raw.get(end..).unwrap_or_default();
            if !is_continued || !(next.starts_with(b" ") || next.starts_with(b"\t") || is_field(next)) {
                return (fields, end);
            }
        } else if is_end(line) {
            return (fields, at);
        } else if is_continued {
            match fields.last_mut() {
                Some(field) => field.end = end,
                // A body that begins with a space, without any header.
                None => return (fields, at),
            }
        } else if is_field(line) {
            fields.push(at..end);
        } else if !(fields.is_empty() && is_mailbox_mark(line)) {
            return (fields, at);
        }
        at = end;
    }
    (fields, at)
}

/// Whether a line begins with a name and a colon.
fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().take(200).position(|byte| *byte == b':') else { return false };
    let name = line[..colon].trim_ascii_end();
    !name.is_empty()
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(byte))
}

/// The line that files of mails put before each.
fn is_mailbox_mark(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}
