//! The bounds of what is read from one mail.

/// The bounds of what is read from one mail. Beyond them the mail is [`super::Content::cut`], and
/// [`super::Content::cuts`] says what was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MailLimits {
    /// Bytes of a mail that are read. 10 MiB: a long mail with some pictures. Of a longer one the
    /// parts within the first 10 MiB are read.
    pub bytes: usize,
    /// Bytes of the headers of a mail, or of a part. 256 KiB: mail servers refuse more.
    pub headers: usize,
    /// Parts. 200: mails with that many were not written by a person.
    pub parts: usize,
    /// Bytes of text. 200,000: a book's chapter, and more than a model is given at once.
    pub text: usize,
    /// Addresses of one header. 200.
    pub addresses: usize,
    /// Attachments that are kept. 100.
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
            text: 200_000,
            addresses: 200,
            attachments: 100,
            line: 998,
        }
    }
}
