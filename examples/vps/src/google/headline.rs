//! What the owner is told of a mail.

use livos_integrations::gmail::Summary;

use crate::channels::plain;

/// Of a sender's name and of a subject, as many characters are told.
const LONGEST: (usize, usize) = (60, 160);

/// One line about a mail.
pub fn headline(mail: &Summary) -> String {
    let from = mail.from.as_ref().map(|from| from.name().unwrap_or(from.address()));
    let (from, subject) = (plain(from.unwrap_or_default(), LONGEST.0), plain(&mail.subject, LONGEST.1));
    let or = |text: String, otherwise: &str| if text.is_empty() { otherwise.to_owned() } else { text };
    format!("Mail from {}: {}", or(from, "somebody"), or(subject, "no subject"))
}
