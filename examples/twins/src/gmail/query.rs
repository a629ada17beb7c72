//! The search of `messages.list`: all words and operators must hold.
//!
//! `from: to: subject: in: label: is:unread|read|starred has:attachment filename: after: before: newer_than: older_than: rfc822msgid:`,
//! words and `"phrases"` in subject or text, and `-` before any of them. Dates are `YYYY/MM/DD` in
//! UTC, or seconds since 1970.

use super::{
    mail::Part,
    mailbox::{Mailbox, Message},
};

/// Whether a mail is found by `query`.
pub(super) fn finds(query: &str, message: &Message, mailbox: &Mailbox, now_ms: i64) -> bool {
    let mail = Part::parse(&message.raw);
    terms(query).iter().all(|term| match term.strip_prefix('-') {
        Some(term) => !holds(term, message, &mail, mailbox, now_ms),
        None => holds(term, message, &mail, mailbox, now_ms),
    })
}

/// Words, with what is in quotes kept together and without the quotes.
fn terms(query: &str) -> Vec<String> {
    let (mut terms, mut term, mut quoted) = (Vec::new(), String::new(), false);
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => terms.push(std::mem::take(&mut term)),
            c => term.push(c),
        }
    }
    terms.push(term);
    terms.retain(|term| !term.is_empty());
    terms
}

fn holds(term: &str, message: &Message, mail: &Part, mailbox: &Mailbox, now_ms: i64) -> bool {
    let contains = |text: &str, wanted: &str| text.to_lowercase().contains(&wanted.to_lowercase());
    let header = |name: &str, wanted: &str| contains(mail.header(name).unwrap_or_default(), wanted);
    let labelled = |label: &str| message.labels.contains(label);
    let Some((operator, wanted)) = term.split_once(':') else {
        return header("Subject", term) || contains(&mail.text(), term);
    };
    let days = || wanted.trim_end_matches('d').parse::<i64>().ok().map(|days| now_ms - days * 86_400_000);
    match operator {
        "from" | "subject" => header(operator, wanted),
        "to" => header("To", wanted) || header("Cc", wanted),
        "in" if wanted == "anywhere" => true,
        "in" | "label" => {
            let user =
                mailbox.labels.iter().find(|(_, name)| name.replace(' ', "-").eq_ignore_ascii_case(wanted));
            labelled(user.map_or(&wanted.to_uppercase(), |(id, _)| id))
        }
        "is" if wanted == "read" => !labelled("UNREAD"),
        "is" => labelled(&wanted.to_uppercase()),
        "has" => has_attachment(mail),
        "filename" => has_file(mail, wanted),
        "after" => date(wanted).is_some_and(|time| message.internal_ms >= time),
        "before" => date(wanted).is_some_and(|time| message.internal_ms < time),
        "newer_than" => days().is_some_and(|time| message.internal_ms >= time),
        "older_than" => days().is_some_and(|time| message.internal_ms < time),
        "rfc822msgid" => {
            let bare = |id: &str| id.trim().trim_matches(['<', '>']).to_owned();
            mail.header("Message-ID").is_some_and(|id| bare(id) == bare(wanted))
        }
        _ => contains(&mail.text(), term),
    }
}

fn has_attachment(part: &Part) -> bool {
    !part.filename.is_empty() || part.parts.iter().any(has_attachment)
}

fn has_file(part: &Part, name: &str) -> bool {
    let this = !part.filename.is_empty() && part.filename.to_lowercase().contains(&name.to_lowercase());
    this || part.parts.iter().any(|part| has_file(part, name))
}

/// Milliseconds since 1970.
fn date(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1000);
    }
    let mut parts = text.split(['/', '-']).map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    // The civil calendar, counted in eras of 400 years that begin in March.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_seconds_or_days() {
        assert_eq!(date("2026/11/24"), Some(1_795_478_400_000));
        assert_eq!(date("1970/01/01"), Some(0));
        assert_eq!((date("1388552400"), date("soon")), (Some(1_388_552_400_000), None));
    }

    #[test]
    fn words_in_quotes_stay_together() {
        assert_eq!(
            terms(r#"from:anna "two words" subject:"a b" -x"#),
            ["from:anna", "two words", "subject:a b", "-x"]
        );
    }
}
