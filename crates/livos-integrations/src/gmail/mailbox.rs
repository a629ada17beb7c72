//! A mailbox in the sense of RFC 5322: an optional name and an address, valid by construction.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use super::{impersonation, text::one_line};

/// An optional name and an address, both safe to write into a header.
///
/// ```
/// use livos_integrations::gmail::Mailbox;
///
/// let anna = Mailbox::new(Some("Anna Müller"), "anna@example.org")?;
/// assert_eq!(anna.to_string(), "Anna Müller <anna@example.org>");
/// assert!(Mailbox::new(Some("Anna\r\nBcc: eve@example.org"), "anna@example.org").is_err());
/// # Ok::<(), livos_integrations::gmail::InvalidMailbox>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Mailbox {
    name: Option<String>,
    address: String,
}

/// The name has control characters or is too long, or the address is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {0} of the mailbox is not valid in a header")]
pub struct InvalidMailbox(&'static str);

impl Mailbox {
    /// The longest address, in bytes (RFC 5321).
    pub const MAX_ADDRESS: usize = 320;
    /// The longest name, in bytes. 200: longer ones are meant to push the address out of sight.
    pub const MAX_NAME: usize = 200;

    /// A mailbox of any name without control characters and an address `local@domain` without
    /// quotes.
    pub fn new(name: Option<&str>, address: &str) -> Result<Self, InvalidMailbox> {
        let special = |c: char| c.is_whitespace() || c.is_control() || "<>()[]\\,;:\"".contains(c);
        let parts: Vec<&str> = address.split('@').collect();
        let sound = parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && !part.contains(special));
        if !sound || address.len() > Self::MAX_ADDRESS {
            return Err(InvalidMailbox("address"));
        }
        let name = name.map(str::trim).filter(|name| !name.is_empty());
        if name.is_some_and(|name| name.len() > Self::MAX_NAME || name.chars().any(char::is_control)) {
            return Err(InvalidMailbox("name"));
        }
        Ok(Self { name: name.map(str::to_owned), address: address.to_owned() })
    }

    /// A mailbox from a mail, where the name can be anything: it is cleaned and shortened. `None`
    /// if the address is not usable.
    pub(super) fn lenient(name: Option<&str>, address: &str) -> Option<Self> {
        let name = name.map(|name| one_line(name, Self::MAX_NAME));
        Self::new(name.as_deref(), address.trim()).ok()
    }

    /// The name without quotes, as the sender chose it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address as written, `local@domain`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether the name could make a reader take the mail for somebody else's: it holds an address
    /// or a domain that is not the real one, or letters that imitate those of another script.
    ///
    /// ```
    /// use livos_integrations::gmail::Mailbox;
    ///
    /// let claims = |name| Mailbox::new(Some(name), "evil@bad.example").unwrap().has_misleading_name();
    /// assert!(claims("ceo@corp.example") && claims("Your bank (bank.example)") && !claims("Dr. Eve"));
    /// ```
    pub fn has_misleading_name(&self) -> bool {
        let Some(name) = &self.name else { return false };
        impersonation::is_misleading(name, &self.address)
    }

    /// Whether two addresses are equal except for case, so that mail to both goes to the same
    /// place.
    pub fn is_same_place(&self, address: &str) -> bool {
        self.address.to_lowercase() == address.to_lowercase()
    }
}

impl fmt::Display for Mailbox {
    /// For people; a header is written by [`super::MailDraft`]. A misleading name is in quotes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) if self.has_misleading_name() => {
                write!(f, "\"{}\" <{}>", name.replace('"', "'"), self.address)
            }
            Some(name) => write!(f, "{name} <{}>", self.address),
            None => f.write_str(&self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_makes_no_mailbox() {
        let long = format!("{}@b.c", "a".repeat(320));
        for address in [
            "",
            "a",
            "@b.c",
            "a@",
            "a@b@c",
            "a b@c.d",
            "a@b.c\r\nBcc: x@y.z",
            "<a@b.c>",
            "a@b.c,d@e.f",
            &long,
        ] {
            assert_eq!(Mailbox::new(None, address), Err(InvalidMailbox("address")), "{address:?}");
        }
        assert!(Mailbox::new(None, "jürgen@exämple.org").unwrap().is_same_place("JÜRGEN@exämple.org"));
    }

    #[test]
    fn a_hostile_name_in_a_mail_is_brought_into_shape() {
        let read = Mailbox::lenient(Some("Eve\r\n\tBcc: x@y.z\0"), " eve@example.org ").unwrap();
        assert_eq!((read.name(), read.address()), (Some("Eve Bcc: x@y.z"), "eve@example.org"));
        assert_eq!(
            Mailbox::lenient(Some(&"ü".repeat(5000)), "a@b.c").unwrap().name().unwrap().len(),
            Mailbox::MAX_NAME
        );
        assert_eq!(Mailbox::lenient(None, "nobody"), None);
    }

    #[test]
    fn a_misleading_name_is_shown_as_a_claim() {
        let shown = |name| Mailbox::new(Some(name), "evil@bad.example").unwrap().to_string();
        assert_eq!(shown("ceo@corp.example"), "\"ceo@corp.example\" <evil@bad.example>");
        assert_eq!(shown("a\" <b@c.d>"), "\"a' <b@c.d>\" <evil@bad.example>");
        assert_eq!(shown("Eve"), "Eve <evil@bad.example>");
    }
}
