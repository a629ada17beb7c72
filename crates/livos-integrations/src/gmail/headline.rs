//! The one line that tells a person in a chat of a mail.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{
    Mailbox, Summary,
    text::{one_line, shortened},
};

/// Characters of a sender that are shown at the most.
const MAX_SENDER: usize = 60;
/// Characters of a subject that are shown at the most.
const MAX_SUBJECT: usize = 160;

impl Summary {
    /// The sender and the subject as one line for a chat: "Mail from Anna: Lunch?".
    ///
    /// Both are a stranger's words. So there is no markup in them that a chat would follow, no
    /// mention and no link that leads elsewhere than it says, and nothing that cannot be seen. A
    /// name that could be taken for somebody else's address is shown together with the real one.
    pub fn headline(&self) -> String {
        let from = self.from.as_ref().map_or_else(|| "somebody".to_owned(), sender);
        let subject = shortened(&plain(&self.subject), MAX_SUBJECT);
        let subject = if subject.is_empty() { "no subject" } else { &subject };
        format!("Mail from {from}: {subject}")
    }
}

/// The name of a sender, or the address if there is no name; both if the name could deceive.
fn sender(from: &Mailbox) -> String {
    let name = from.name().map(|name| shortened(&plain(name), MAX_SENDER)).unwrap_or_default();
    let address = plain(from.address());
    match name {
        name if name.is_empty() => address,
        name if name.eq_ignore_ascii_case(&address) => address,
        name if from.has_misleading_name() => format!("\"{}\" <{address}>", name.replace('"', "'")),
        name => name,
    }
}

/// A text on one line, without the characters that chats read as markup. Everything else stays:
/// letters, marks and joiners of all scripts, currency, punctuation.
fn plain(text: &str) -> String {
    let line = one_line(text, usize::MAX);
    let mut kept: String = line.chars().filter(|c| !matches!(c, '*' | '`' | '<' | '>')).collect();
    // Pairs that strike through or cover text. Taking one out may put another one together.
    while ["~~", "||"].iter().any(|pair| kept.contains(pair)) {
        kept = kept.replace("~~", "").replace("||", "");
    }
    // The middle of a link with a label of its own.
    one_line(&kept.replace("](", "] ("), usize::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(from: Option<(&str, &str)>, subject: &str, told: &str) {
        let from = from.map(|(name, address)| Mailbox::lenient(Some(name), address).unwrap());
        assert_eq!(summary(from, subject).headline(), told);
    }

    fn summary(from: Option<Mailbox>, subject: &str) -> Summary {
        Summary {
            id: "1".try_into().unwrap(),
            thread: "1".try_into().unwrap(),
            labels: Vec::new(),
            received_at: livos_core::time::Timestamp::from_unix_ms(0),
            snippet: String::new(),
            from,
            subject: subject.to_owned(),
        }
    }

    #[test]
    fn all_scripts_currency_and_punctuation_stay() {
        for text in [
            "ประชุมพรุ่งนี้ ๑๐ โมง",
            "हिन्दी में क्‍षमा",
            "می‌خواهم بروم",
            "Cafe\u{301} a\u{308}",
            "Invoice #77: £9 + ¥50 = ₹? a_b [new] 50% {x} \\o/ ~5 a|b",
            "明日の会議：「予算」、10時。",
            "שלום, עולם",
            "👩‍💻 ships ❤️",
        ] {
            check(Some(("Anna", "a@b.example")), text, &format!("Mail from Anna: {text}"));
        }
    }

    #[test]
    fn markup_and_unseen_characters_go() {
        check(
            Some(("*Eve*\u{202e}", "e@b.example")),
            "Re: [offer](http://x.test) **now** ~~5~~ `x` ||y|| ~||~\r\n\u{202e}<@1> \u{200b}\u{ad}",
            "Mail from Eve: Re: [offer] (http://x.test) now 5 x y @1",
        );
        check(None, " \u{200b}\u{200c} ", "Mail from somebody: no subject");
        check(Some(("", "a@b.example")), "x", "Mail from a@b.example: x");
        let long = "ü".repeat(500);
        let told = format!("Mail from {}…: {}…", "ü".repeat(60), "ü".repeat(160));
        check(Some((&"ü".repeat(90), "a@b.example")), &long, &told);
    }

    #[test]
    fn a_name_that_could_deceive_comes_with_the_real_address() {
        let real = "evil@bad.example";
        for (name, told) in [
            ("ceo@corp.example", "\"ceo@corp.example\" <evil@bad.example>"),
            ("CEO <ceo@corp.example>", "\"CEO ceo@corp.example\" <evil@bad.example>"),
            ("bank.example", "\"bank.example\" <evil@bad.example>"),
            ("Evil@bad.example", "evil@bad.example"),
            ("Eve", "Eve"),
        ] {
            check(Some((name, real)), "Hi", &format!("Mail from {told}: Hi"));
        }
    }

    proptest! {
        #[test]
        fn a_headline_is_one_bounded_line(name in "\\PC{0,80}|[*_`<>@a-z.|~\u{200b}-\u{202e}\\[\\](]{0,80}", subject in "\\PC{0,300}|[\\x00-\\x7f]{0,300}") {
            let told = summary(Mailbox::lenient(Some(&name), "e@bad.example"), &subject).headline();
            prop_assert!(told.chars().count() <= 300);
            let is_unwanted = |c: char| c.is_control() || matches!(c, '*' | '`' | '\u{202e}');
            prop_assert!(!told.contains(is_unwanted));
            prop_assert!(!told.contains("](") && !told.contains("~~") && !told.contains("||"));
        }
    }
}
