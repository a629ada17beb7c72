//! What a mail says: its headers, its text and its attachments.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;
use mail_parser::{Address, HeaderValue, Message};

use super::{
    body::{Attached, Body, Cut, charset_named_in},
    header::Head,
    limits::MailLimits,
    tree::Tree,
};
use crate::gmail::{
    mailbox::Mailbox,
    text::{is_blank, one_line},
};

/// The most bytes of a mail in which a charset is looked for that helps with headers which name
/// none. 64 KiB.
const MAX_SEARCH: usize = 64 << 10;
/// The most ids that are read from one header. When a longer conversation is answered, only its
/// beginning and its end are kept anyway.
const MAX_IDS: usize = 100;

/// What a mail says. All of it was written by a stranger: it is text to judge, never an
/// instruction. [`Content::from`] is who claims to have written it; show its address and not its
/// name alone, because the name can be anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Content {
    /// The claimed author; nothing proves it.
    pub from: Option<Mailbox>,
    /// Where answers should go, if that is said.
    pub reply_to: Vec<Mailbox>,
    /// The recipients of the mail itself.
    pub to: Vec<Mailbox>,
    /// Those who got a copy.
    pub cc: Vec<Mailbox>,
    /// The subject, on one line.
    pub subject: String,
    /// When the mail claims to have been sent.
    pub sent_at: Option<Timestamp>,
    /// Its id, without angle brackets.
    pub message_id: Option<String>,
    /// The ids of the mails that it answers.
    pub in_reply_to: Vec<String>,
    /// The ids of the mails before it in the conversation, oldest first.
    pub references: Vec<String>,
    /// The text. If there is only HTML, what a reader sees of it; if there is only another mail,
    /// its text as a quote.
    pub text: String,
    /// The attachments, in their order in the mail.
    pub attachments: Vec<Attached>,
    /// Whether a machine sent it: a list, an out-of-office note, a bounce. Answering those
    /// automatically can start an endless exchange between two machines (RFC 3834).
    pub automatic: bool,
    /// Whether something was left out because it was beyond a bound.
    pub cut: bool,
    /// What was left out, to be told to the reader.
    pub cuts: Vec<Cut>,
}

impl Content {
    /// Reads a mail. Never fails: what can't be read is empty, and in doubt text is shown.
    ///
    /// ```
    /// use livos_integrations::gmail::{Content, MailLimits};
    ///
    /// let raw = b"From: Anna <anna@example.org>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n\r\nBis bald!\r\n";
    /// let mail = Content::parse(raw, &MailLimits::default());
    /// assert_eq!((mail.subject.as_str(), mail.text.trim()), ("Grüße", "Bis bald!"));
    /// ```
    pub fn parse(raw: &[u8], limits: &MailLimits) -> Self {
        Self::parse_start(raw, raw.len() > limits.bytes, limits)
    }

    /// Reads a mail of which only the beginning is there, if `is_cut` says so.
    pub(in crate::gmail) fn parse_start(raw: &[u8], is_cut: bool, limits: &MailLimits) -> Self {
        let mut content = Self::read(raw, is_cut, limits);
        if is_blank(&content.text)
            && let Some(mail) =
                content.attachments.iter().find(|attached| attached.mime_type == "message/rfc822")
        {
            let shown = Self::read(&mail.content, false, limits).quoted();
            content.text = shown[..shown.floor_char_boundary(limits.text)].to_owned();
        }
        content
    }

    fn read(raw: &[u8], is_cut: bool, limits: &MailLimits) -> Self {
        let read = &raw[..raw.len().min(limits.bytes)];
        let nearby = charset_named_in(&read[..read.len().min(MAX_SEARCH)]);
        let (head, _) = Head::read(read, limits.headers, nearby.as_deref(), |_| false);
        let mut content = head.message().map(|message| Self::of(&message, &head, limits)).unwrap_or_default();
        let tree = Tree::build(read, is_cut, limits, nearby.as_deref());
        let body = Body::of(&tree, limits, nearby.as_deref());
        (content.text, content.attachments) = (body.text, body.attachments);
        content.cuts = [
            is_cut.then_some(Cut::Mail(read.len())),
            head.cut.then_some(Cut::Headers),
            tree.cut.then_some(Cut::Parts),
        ]
        .into_iter()
        .flatten()
        .chain(body.cuts)
        .collect();
        content.cut = !content.cuts.is_empty();
        content
    }

    /// As part of another mail: other words by another sender.
    fn quoted(&self) -> String {
        let from = self.from.as_ref().map_or_else(|| "somebody".to_owned(), ToString::to_string);
        let mut quoted = format!("Attached mail from {from}, subject \"{}\":\n", self.subject);
        for line in self.text.lines() {
            quoted.push_str(if line.is_empty() { ">" } else { "> " });
            quoted.extend([line, "\n"]);
        }
        quoted
    }

    fn of(message: &Message<'_>, head: &Head, limits: &MailLimits) -> Self {
        Self {
            from: sender(message, head, limits),
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
            automatic: is_automatic(head),
            ..Self::default()
        }
    }
}

fn mailboxes(header: Option<&Address<'_>>, limits: &MailLimits) -> Vec<Mailbox> {
    let addresses = header.into_iter().flat_map(|header| header.iter());
    let usable = addresses.filter_map(|one| Mailbox::lenient(one.name(), one.address()?));
    usable.take(limits.addresses).collect()
}

/// The author. Of a header that is not well-formed, such as one with a bare address for a name, the
/// address is the one in the last brackets, as mail servers read it.
fn sender(message: &Message<'_>, head: &Head, limits: &MailLimits) -> Option<Mailbox> {
    let written = head.text("From")?;
    let read = mailboxes(message.from(), limits).into_iter().next();
    // The reader of headers may make one address of two.
    read.filter(|from| written.contains(from.address())).or_else(|| {
        let (name, address) = written.rsplit_once('<')?;
        Mailbox::lenient(Some(name.trim().trim_matches('"')), address.split('>').next()?)
    })
}

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
pub(in crate::gmail) fn message_id(id: &str) -> Option<String> {
    const MOST: usize = 250;
    let id = id.trim().trim_start_matches('<').trim_end_matches('>');
    let sound = !id.is_empty()
        && id.len() <= MOST
        && id.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>".contains(&byte));
    sound.then(|| id.to_owned())
}

fn is_automatic(head: &Head) -> bool {
    let text = |name: &str| head.text(name).map(|value| value.trim().to_ascii_lowercase());
    let submitted = text("Auto-Submitted").is_some_and(|value| value != "no");
    let bulk = text("Precedence").is_some_and(|value| matches!(value.as_str(), "bulk" | "junk" | "list"));
    let bounced = text("Return-Path").is_some_and(|value| value == "<>");
    submitted || bulk || bounced || text("List-Id").is_some()
}
