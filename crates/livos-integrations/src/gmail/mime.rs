//! What a mail says, read from its raw bytes within bounds.
//!
//! The bytes come from strangers. A mail of megabytes may be one header of a million addresses, a
//! thousand mails nested in each other, or a thousand boundaries that never close. So a mail is
//! measured before it is parsed: what is beyond a bound gives its headers only, and says so.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::panic::catch_unwind;

use bytes::Bytes;
use livos_core::time::Timestamp;
use mail_parser::{Address, HeaderValue, Message, MessageParser, MessagePart, MimeHeaders, PartType};

use super::Mailbox;

/// The bounds of what is read from one mail. Beyond them the mail is [`Content::cut`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailLimits {
    /// Bytes of a mail that is parsed as a whole. 10 MiB: a long mail with some pictures; of a
    /// longer one the headers are read.
    pub bytes: usize,
    /// Bytes of headers that are read where only they are. 256 KiB: mail servers refuse more.
    pub headers: usize,
    /// Parts, counted by how often the mail names a content type. 200: the parser would nest as
    /// deep as this, and its cleanup with it.
    pub parts: usize,
    /// Lines, and separators of lists, in the whole mail. 400,000: each may cost the parser some
    /// hundred bytes.
    pub structure: usize,
    /// Bytes of text. 200,000: a book's chapter, and more than a model is given at once.
    pub text: usize,
    /// Addresses of one header. 200.
    pub addresses: usize,
    /// Attachments. 100.
    pub attachments: usize,
    /// Bytes of a subject or a file name. 998: a line of a mail has no more.
    pub line: usize,
}

impl Default for MailLimits {
    fn default() -> Self {
        Self {
            bytes: 10 << 20,
            headers: 256 << 10,
            parts: 200,
            structure: 400_000,
            text: 200_000,
            addresses: 200,
            attachments: 100,
            line: 998,
        }
    }
}

/// What a mail says. All of it was written by a stranger: it is text to judge, never an
/// instruction.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Content {
    /// Who says to have written it.
    pub from: Option<Mailbox>,
    /// Where answers are to go, where that is said.
    pub reply_to: Vec<Mailbox>,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// To whom besides.
    pub cc: Vec<Mailbox>,
    /// The subject, on one line.
    pub subject: String,
    /// When it says to have been sent.
    pub sent_at: Option<Timestamp>,
    /// Its id, without angle brackets.
    pub message_id: Option<String>,
    /// The ids of the mails that it answers.
    pub in_reply_to: Vec<String>,
    /// The ids of the mails before it in the conversation, oldest first.
    pub references: Vec<String>,
    /// The text; where there is only HTML, what a reader would see of it.
    pub text: String,
    /// What is attached.
    pub attachments: Vec<Attached>,
    /// Whether a machine sent it: a list, an out-of-office note, a bounce. Whoever answers those by
    /// himself may talk to a machine for ever (RFC 3834).
    pub automatic: bool,
    /// Whether something was left out because it was beyond a bound.
    pub cut: bool,
}

/// An attachment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// The file's name as the sender wrote it, on one line. It is no path: it may hold slashes and
    /// dots.
    pub name: String,
    /// The type that the sender says it has.
    pub mime_type: String,
    /// The bytes, decoded.
    pub content: Bytes,
}

impl Content {
    /// Reads a mail. Never fails: what can't be read is empty.
    ///
    /// ```
    /// use livos_integrations::gmail::{Content, MailLimits};
    ///
    /// let raw = b"From: Anna <anna@example.org>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\nBis bald!\r\n";
    /// let mail = Content::parse(raw, &MailLimits::default());
    /// assert_eq!((mail.subject.as_str(), mail.text.trim()), ("Grüße", "Bis bald!"));
    /// ```
    pub fn parse(raw: &[u8], limits: &MailLimits) -> Self {
        let parser = MessageParser::default();
        if is_within(raw, limits) {
            // The parser asserts what a mail in a mail in a part can break; a release skips that,
            // and any other build must not end over a stranger's mail.
            let whole = catch_unwind(|| {
                parser.parse(raw).map(|message| Self::of(&message, limits)).unwrap_or_default()
            });
            if let Ok(content) = whole {
                return content;
            }
        }
        let headers = headers_of(raw, limits.headers);
        let content =
            parser.parse_headers(headers).map(|message| Self::of(&message, limits)).unwrap_or_default();
        Self { cut: true, ..content }
    }

    fn of(message: &Message<'_>, limits: &MailLimits) -> Self {
        let mut content = Self {
            from: mailboxes(message.from(), limits).into_iter().next(),
            reply_to: mailboxes(message.reply_to(), limits),
            to: mailboxes(message.to(), limits),
            cc: mailboxes(message.cc(), limits),
            subject: one_line(message.subject().unwrap_or_default(), limits.line),
            sent_at: message
                .date()
                .map(|date| Timestamp::from_unix_ms(date.to_timestamp().saturating_mul(1000))),
            message_id: message.message_id().and_then(message_id),
            in_reply_to: message_ids(message.in_reply_to()),
            references: message_ids(message.references()),
            automatic: is_automatic(message),
            ..Self::default()
        };
        content.read_text(message, limits);
        content.read_attachments(message, limits);
        content
    }

    fn read_text(&mut self, message: &Message<'_>, limits: &MailLimits) {
        for at in 0..message.text_body_count() {
            let Some(text) = message.body_text(at) else { continue };
            if !self.text.is_empty() && !self.text.ends_with('\n') {
                self.text.push('\n');
            }
            let room = limits.text.saturating_sub(self.text.len());
            let fits = &text[..text.floor_char_boundary(room)];
            self.text.extend(fits.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')));
            if fits.len() < text.len() {
                self.cut = true;
                return;
            }
        }
    }

    fn read_attachments(&mut self, message: &Message<'_>, limits: &MailLimits) {
        self.cut |= message.attachment_count() > limits.attachments;
        self.attachments =
            message.attachments().take(limits.attachments).map(|part| attached(part, limits)).collect();
    }
}

fn attached(part: &MessagePart<'_>, limits: &MailLimits) -> Attached {
    let kind = part.content_type().map(|kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or("*")));
    let content = match &part.body {
        PartType::Message(message) => message.raw_message(),
        _ => part.contents(),
    };
    Attached {
        name: one_line(part.attachment_name().unwrap_or_default(), limits.line),
        mime_type: one_line(&kind.unwrap_or_else(|| "application/octet-stream".into()), 127).to_lowercase(),
        content: Bytes::copy_from_slice(content),
    }
}

/// Whether the parser may be given the whole mail.
fn is_within(raw: &[u8], limits: &MailLimits) -> bool {
    const NAMED: &[u8] = b"content-type";
    if raw.len() > limits.bytes {
        return false;
    }
    let (mut structure, mut parts) = (0, 0);
    for (at, byte) in raw.iter().enumerate() {
        match byte {
            b'\n' | b',' | b';' | b'<' => structure += 1,
            b'c' | b'C'
                if raw.get(at..at + NAMED.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAMED)) =>
            {
                parts += 1;
            }
            _ => {}
        }
    }
    structure <= limits.structure && parts <= limits.parts
}

/// The header lines of a mail, of so many bytes at the most.
fn headers_of(raw: &[u8], most: usize) -> &[u8] {
    let mut end = 0;
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        if line.iter().all(u8::is_ascii_whitespace) || end + line.len() > most {
            break;
        }
        end += line.len();
    }
    &raw[..end]
}

fn mailboxes(header: Option<&Address<'_>>, limits: &MailLimits) -> Vec<Mailbox> {
    let addresses = header.into_iter().flat_map(|header| header.iter());
    let usable = addresses.filter_map(|one| Mailbox::lenient(one.name(), one.address()?));
    usable.take(limits.addresses).collect()
}

/// The most ids that are read from one header. Longer conversations keep their beginning and their
/// end anyway when they are answered.
const MAX_IDS: usize = 100;

fn message_ids(header: &HeaderValue<'_>) -> Vec<String> {
    match header {
        HeaderValue::Text(id) => message_id(id).into_iter().collect(),
        HeaderValue::TextList(ids) => {
            let skipped = ids.len().saturating_sub(MAX_IDS);
            ids.iter().skip(skipped).filter_map(|id| message_id(id)).collect()
        }
        _ => Vec::new(),
    }
}

/// An id that may be written into the headers of an answer: printable, without brackets, of a
/// length that is sent on.
pub(super) fn message_id(id: &str) -> Option<String> {
    const MOST: usize = 250;
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    let sound = !id.is_empty()
        && id.len() <= MOST
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>".contains(&byte));
    sound.then(|| id.to_owned())
}

/// Text of a header, which may hold encoded line breaks, on one line of so many bytes at the most.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let mut line = String::new();
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()).filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > most {
            line.truncate(line.floor_char_boundary(most));
            break;
        }
    }
    line
}

fn is_automatic(message: &Message<'_>) -> bool {
    let text = |name: &'static str| message.header_raw(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = text("Auto-Submitted").is_some_and(|value| value != "no");
    let bulk = text("Precedence").is_some_and(|value| matches!(value.as_str(), "bulk" | "junk" | "list"));
    let bounced = text("Return-Path").is_some_and(|value| value == "<>");
    submitted || bulk || bounced || text("List-Id").is_some()
}

#[cfg(test)]
#[path = "mime/tests.rs"]
mod tests;
