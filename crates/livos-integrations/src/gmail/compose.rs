//! A mail to be sent, composed so that nothing in its text or names can become a header.
//!
//! Line breaks and other control characters in a subject, a name or a file name are refused, not
//! repaired: they have no honest use there, and a stranger whose text ends a header could write the
//! next one. Encoding and folding are those of `mail-builder`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytes::Bytes;
use livos_core::time::Timestamp;
use mail_builder::{
    MessageBuilder,
    headers::{
        address::{Address, EmailAddress},
        date::Date,
        message_id::MessageId as Ids,
        raw::Raw,
        text::Text,
    },
};

use super::{Content, Mailbox, ThreadId};

/// A mail to be sent, checked when it is composed.
///
/// ```
/// use livos_core::time::Timestamp;
/// use livos_integrations::gmail::{MailDraft, Mailbox};
///
/// let draft = MailDraft::new([Mailbox::new(None, "anna@example.org")?], "Grüße", "Bis bald!");
/// let mail = String::from_utf8(draft.compose(Timestamp::from_unix_ms(1_795_500_000_000), "1@example.org")?)?;
/// assert!(mail.contains("To: <anna@example.org>\r\n") && mail.contains("Message-ID: <1@example.org>\r\n"));
/// assert!(MailDraft::new([], "Hi\r\nBcc: eve@example.org", "").compose(Timestamp::default(), "1@example.org").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailDraft {
    from: Option<Mailbox>,
    to: Vec<Mailbox>,
    cc: Vec<Mailbox>,
    bcc: Vec<Mailbox>,
    subject: String,
    text: String,
    attachments: Vec<(String, String, Bytes)>,
    thread: Option<ThreadId>,
    in_reply_to: Option<String>,
    references: Vec<String>,
    automatic: bool,
}

/// The recipients of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyTo {
    /// The author, or the addresses in `Reply-To`.
    Sender,
    /// Everyone who got the mail as well.
    Everyone,
}

/// Why a draft cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDraft {
    /// It has no recipients.
    #[error("the mail has no recipient")]
    NoRecipient,
    /// It has more than [`MailDraft::MAX_RECIPIENTS`].
    #[error("the mail has {0} recipients, more than {max}", max = MailDraft::MAX_RECIPIENTS)]
    TooManyRecipients(usize),
    /// A header would hold control characters, which could end it.
    #[error("the {0} contains control characters")]
    Control(&'static str),
    /// Longer than [`MailDraft::MAX_LINE`].
    #[error("the {0} is too long")]
    TooLong(&'static str),
    /// The type of an attachment is not of the form `type/subtype`.
    #[error("the type of an attachment is not of the form type/subtype")]
    MimeType,
    /// The id cannot be written into a header.
    #[error("the id of the mail is not a valid message id")]
    MessageId,
    /// The mail could not be encoded.
    #[error("the mail cannot be encoded")]
    Unwritten,
}

impl MailDraft {
    /// The most recipients of one mail. 100: beyond that it is a mailing, which an agent does not
    /// send by itself.
    pub const MAX_RECIPIENTS: usize = 100;
    /// The longest subject or file name, in bytes. 998: a line of a mail has no more.
    pub const MAX_LINE: usize = 998;
    /// The most ids that an answer refers to. 20: the first of the conversation and the last ones,
    /// as RFC 5322 allows.
    pub const MAX_REFERENCES: usize = 20;

    /// A new mail that answers nothing, marked as written by a person.
    pub fn new(
        to: impl IntoIterator<Item = Mailbox>,
        subject: impl Into<String>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            from: None,
            to: to.into_iter().collect(),
            cc: Vec::new(),
            bcc: Vec::new(),
            subject: subject.into(),
            text: text.into(),
            attachments: Vec::new(),
            thread: None,
            in_reply_to: None,
            references: Vec::new(),
            automatic: false,
        }
    }

    /// An answer in the conversation of a mail. `own` is the address of the answering mailbox,
    /// which gets no copy. The answer is marked as automatic, so that other machines do not answer
    /// it; see [`MailDraft::by_a_person`].
    pub fn reply(
        mail: &Content,
        thread: Option<&ThreadId>,
        text: impl Into<String>,
        whom: ReplyTo,
        own: &str,
    ) -> Self {
        let is_own = |mailbox: &&Mailbox| mailbox.is_same_place(own);
        let mut to: Vec<Mailbox> = if mail.reply_to.is_empty() {
            mail.from.iter().cloned().collect()
        } else {
            mail.reply_to.clone()
        };
        // An answer to our own mail goes to its recipients.
        if to.iter().all(|mailbox| mailbox.is_same_place(own))
            && !mail.to.iter().all(|mailbox| is_own(&mailbox))
        {
            to = mail.to.iter().filter(|mailbox| !is_own(mailbox)).cloned().collect();
        }
        let mut cc: Vec<Mailbox> = Vec::new();
        if whom == ReplyTo::Everyone {
            for mailbox in mail.to.iter().chain(&mail.cc).filter(|mailbox| !is_own(mailbox)) {
                if !to.iter().chain(&cc).any(|known| known.is_same_place(mailbox.address())) {
                    cc.push(mailbox.clone());
                }
            }
        }
        Self {
            cc,
            thread: thread.cloned(),
            in_reply_to: mail.message_id.clone(),
            references: references(mail),
            automatic: true,
            ..Self::new(to, reply_subject(&mail.subject), text)
        }
    }

    /// Sends from another address of the account. Without it Gmail fills in the default one.
    #[must_use]
    pub fn from(mut self, from: Mailbox) -> Self {
        self.from = Some(from);
        self
    }

    /// Adds a recipient of a copy.
    #[must_use]
    pub fn cc(mut self, cc: Mailbox) -> Self {
        self.cc.push(cc);
        self
    }

    /// Adds a recipient whom the others do not see.
    #[must_use]
    pub fn bcc(mut self, bcc: Mailbox) -> Self {
        self.bcc.push(bcc);
        self
    }

    /// Attaches a file.
    #[must_use]
    pub fn attach(mut self, name: impl Into<String>, mime_type: impl Into<String>, content: Bytes) -> Self {
        self.attachments.push((name.into(), mime_type.into(), content));
        self
    }

    /// Removes the mark of an automatic mail, because a person wrote or approved this one.
    #[must_use]
    pub fn by_a_person(mut self) -> Self {
        self.automatic = false;
        self
    }

    /// The conversation that the mail belongs to.
    pub fn thread(&self) -> Option<&ThreadId> {
        self.thread.as_ref()
    }

    /// The sender, if it is not left to Gmail.
    pub fn sender(&self) -> Option<&Mailbox> {
        self.from.as_ref()
    }

    /// Encodes the mail as RFC 5322 bytes. `message_id` has no angle brackets.
    pub fn compose(&self, now: Timestamp, message_id: &str) -> Result<Vec<u8>, InvalidDraft> {
        self.check(message_id)?;
        let mut mail = MessageBuilder::new()
            .date(Date::new(now.unix_ms().div_euclid(1000)))
            .message_id(message_id.to_owned())
            .header("Subject", Text::new(self.subject.as_str()));
        if let Some(from) = &self.from {
            mail = mail.from(address(from));
        }
        for (name, people) in [("To", &self.to), ("Cc", &self.cc), ("Bcc", &self.bcc)] {
            if !people.is_empty() {
                mail = mail.header(name, Address::List(people.iter().map(address).collect()));
            }
        }
        if let Some(id) = &self.in_reply_to {
            mail = mail.in_reply_to(id.as_str());
        }
        if !self.references.is_empty() {
            mail = mail.references(Ids::from(self.references.as_slice()));
        }
        if self.automatic {
            mail = mail.header("Auto-Submitted", Raw::new("auto-replied"));
        }
        mail = mail.text_body(self.text.as_str());
        for (name, mime_type, content) in &self.attachments {
            mail = mail.attachment(mime_type.as_str(), name.as_str(), &content[..]);
        }
        mail.write_to_vec().map_err(|_| InvalidDraft::Unwritten)
    }

    fn check(&self, message_id: &str) -> Result<(), InvalidDraft> {
        let recipients = self.to.len() + self.cc.len() + self.bcc.len();
        if recipients == 0 {
            return Err(InvalidDraft::NoRecipient);
        }
        if recipients > Self::MAX_RECIPIENTS {
            return Err(InvalidDraft::TooManyRecipients(recipients));
        }
        line("subject", &self.subject)?;
        for (name, mime_type, _) in &self.attachments {
            line("name of an attachment", name)?;
            let token = |part: &str| {
                !part.is_empty()
                    && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
            };
            if mime_type.len() > 127
                || !mime_type.split_once('/').is_some_and(|(kind, sub)| token(kind) && token(sub))
            {
                return Err(InvalidDraft::MimeType);
            }
        }
        match super::mime::message_id(message_id) {
            Some(id) if id == message_id => Ok(()),
            _ => Err(InvalidDraft::MessageId),
        }
    }
}

fn line(what: &'static str, text: &str) -> Result<(), InvalidDraft> {
    if text.chars().any(char::is_control) {
        return Err(InvalidDraft::Control(what));
    }
    if text.len() > MailDraft::MAX_LINE { Err(InvalidDraft::TooLong(what)) } else { Ok(()) }
}

fn address(mailbox: &Mailbox) -> Address<'_> {
    Address::Address(EmailAddress { name: mailbox.name().map(Into::into), email: mailbox.address().into() })
}

/// The subject of an answer. Gmail keeps an answer in its conversation only if the subjects are the
/// same except for the `Re:`.
fn reply_subject(subject: &str) -> String {
    let answers = subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    let subject = if answers { subject.to_owned() } else { format!("Re: {subject}") };
    super::text::one_line(&subject, MailDraft::MAX_LINE)
}

/// The ids before a mail and its own (RFC 5322, section 3.6.4). If there are too many, the first
/// and the last ones.
fn references(mail: &Content) -> Vec<String> {
    let before = if mail.references.is_empty() && mail.in_reply_to.len() == 1 {
        &mail.in_reply_to
    } else {
        &mail.references
    };
    let mut ids: Vec<String> = before.iter().chain(&mail.message_id).cloned().collect();
    if ids.len() > MailDraft::MAX_REFERENCES {
        ids.drain(1..=ids.len() - MailDraft::MAX_REFERENCES);
    }
    ids
}

#[cfg(test)]
#[path = "compose/tests.rs"]
mod tests;
