//! What a mail says, read from its raw bytes within bounds.
//!
//! The bytes come from strangers. A mail may be one header of a million addresses, a thousand mails
//! nested in each other, or a thousand boundaries that never close; others are only badly written.
//! So a mail is taken apart here, in one pass with a bound for everything ([`MailLimits`]), and
//! leniently: a person should see the words that are in a mail, however it was put together.
//! `mail-parser` reads the headers, after they were brought into sound form.

mod body;
mod charset;
mod content;
mod flowed;
mod header;
mod limits;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;
mod word;

pub(super) use self::content::message_id;
pub use self::{
    body::{Attached, Cut},
    content::Content,
    limits::MailLimits,
};
