//! Names of senders that imitate somebody else.
//!
//! A mail names its sender freely, and a chat that shows the name alone believes it. Most names are
//! harmless and short to read; those that could deceive are found here, so that the real address is
//! shown with them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::text::visible;

/// Whether a name could be taken for another address than `address`.
pub(super) fn is_misleading(name: &str, address: &str) -> bool {
    let name = folded(name);
    let address = address.to_lowercase();
    let domain = address.rsplit('@').next().unwrap_or_default();
    let bare = name.trim_matches(|c: char| !c.is_alphanumeric());
    if bare == address {
        return false;
    }
    let words = || name.split(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_')));
    name.contains('@')
        || ["(at)", "[at]", "{at}"].iter().any(|at| name.contains(at))
        || words().any(|word| is_domain(word) && !belongs(word, domain))
        || words().any(mixes_scripts)
}

/// In lower case, with the forms that some scripts have of the marks of addresses made plain.
fn folded(name: &str) -> String {
    let plain = |c: char| match c {
        '＠' | '﹫' => '@',
        '．' | '。' | '｡' | '․' | '﹒' => '.',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    };
    visible(name)
        .chars()
        .filter(|c| !matches!(c, '\u{200c}' | '\u{200d}'))
        .map(plain)
        .collect::<String>()
        .to_lowercase()
}

/// Whether a word looks like the name of a server: `bank.example`, and not `Dr.` or `3.14`.
fn is_domain(word: &str) -> bool {
    let word = word.trim_matches('.');
    let Some((before, last)) = word.rsplit_once('.') else { return false };
    let is_label = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-');
    last.chars().count() >= 2
        && last.chars().all(char::is_alphabetic)
        && before.split('.').all(is_label)
        && before.chars().filter(|c| c.is_alphanumeric()).count() >= 2
}

/// Whether a domain in a name is the sender's own, or one above or below it.
fn belongs(word: &str, domain: &str) -> bool {
    let word = word.trim_matches('.');
    let below = |inner: &str, outer: &str| inner == outer || inner.ends_with(&format!(".{outer}"));
    below(word, domain) || below(domain, word)
}

/// Whether a word has letters of scripts that look alike: Latin with Cyrillic, Greek or Cherokee.
fn mixes_scripts(word: &str) -> bool {
    let is_latin =
        |c: char| c.is_ascii_alphabetic() || matches!(c, '\u{c0}'..='\u{24f}' if c.is_alphabetic());
    let imitates = |c: char| matches!(c, '\u{370}'..='\u{52f}' | '\u{13a0}'..='\u{13ff}' | '\u{ab70}'..='\u{abbf}' | '\u{1d400}'..='\u{1d7ff}');
    word.chars().any(is_latin) && word.chars().any(imitates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_deceive_are_told_from_harmless_ones() {
        let address = "evil@mail.bad.example";
        for name in [
            "ceo@corp.example",
            "The CEO <ceo@corp.example>",
            "ceo＠corp.example",
            "ceo@\u{200b}corp.example",
            "ceo (at) corp example".replace(' ', "").as_str(),
            "Bank.example Support",
            "Support (bank．example)",
            "www.bank.example",
            "P\u{430}yPal",
            "evil@mail.bad.example.corp.example",
            "other@mail.bad.example",
        ] {
            assert!(is_misleading(name, address), "{name}");
        }
        for name in [
            "",
            "Evil@mail.bad.example",
            "'evil@mail.bad.example'",
            "Bad.Example",
            "Dr. Anna M. Müller-Lüdenscheidt Jr.",
            "J.R. Smith, e.g. at 3.14",
            "Анна Каренина",
            "李雷",
            "พรุ่งนี้",
            "Team #1 & Co. – Shop",
            "Иван (Ivan)",
        ] {
            assert!(!is_misleading(name, address), "{name}");
        }
    }
}
