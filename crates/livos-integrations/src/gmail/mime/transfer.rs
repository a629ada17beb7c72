//! Transfer encodings, decoded as mail programs do that want to show something: bad bytes are
//! skipped, padding may be missing, and what was put around a base64 body in plain text is kept.

use std::borrow::Cow;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Encoding {
    #[default]
    None,
    Base64,
    QuotedPrintable,
}

impl Encoding {
    /// By the value of the header. Unknown ones are none.
    pub fn named(name: &str) -> Self {
        let name = name.trim().trim_matches('"').split([';', ' ', '(']).next().unwrap_or_default();
        match name.to_ascii_lowercase().replace('-', "").as_str() {
            "base64" => Self::Base64,
            "quotedprintable" => Self::QuotedPrintable,
            _ => Self::None,
        }
    }
}

/// The bytes of an attachment.
pub(super) fn bytes(body: &[u8], encoding: Encoding) -> Cow<'_, [u8]> {
    match encoding {
        Encoding::None => body.into(),
        Encoding::QuotedPrintable => quoted_printable(body).into(),
        Encoding::Base64 => {
            let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            base64(&lines.filter(|line| is_base64(line)).collect::<Vec<_>>().concat()).into()
        }
    }
}

/// The bytes of a text. Mailing lists and virus scanners add lines in plain text before or behind
/// what is encoded; `plain` is what stood before and behind.
pub(super) struct Text<'a> {
    pub before: &'a [u8],
    pub content: Cow<'a, [u8]>,
    pub behind: &'a [u8],
}

pub(super) fn text(body: &[u8], encoding: Encoding) -> Text<'_> {
    match encoding {
        Encoding::Base64 => base64_text(body),
        _ => Text { before: b"", content: bytes(body, encoding), behind: b"" },
    }
}

fn base64_text(body: &[u8]) -> Text<'_> {
    let lines: Vec<&[u8]> = body.split_inclusive(|byte| *byte == b'\n').collect();
    let encoded = |line: &&[u8]| line.trim_ascii().is_empty() || is_base64(line.trim_ascii());
    // Behind this line, everything could be encoded.
    let last_plain = lines.iter().rposition(|line| !encoded(line)).map_or(0, |at| at + 1);
    let begin = lines.iter().position(|line| is_base64(line.trim_ascii())).unwrap_or(0);
    // A banner before the encoded text: words that could be base64 may be among its lines.
    let begin = match lines.iter().take(begin + 1).rposition(|line| !encoded(line)) {
        Some(banner) => after_banner(&lines, banner),
        None => begin,
    };
    let end = (begin..lines.len()).find(|at| {
        let line = lines[*at].trim_ascii();
        !is_base64(line) && (!line.is_empty() || *at < last_plain)
    });
    let end = end.unwrap_or(lines.len());
    let at = |line: usize| lines.iter().take(line).map(|line| line.len()).sum::<usize>();
    let (begin, end) = (at(begin), at(end));
    let packed: Vec<u8> =
        body[begin..end].iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    Text { before: &body[..begin], content: base64(&packed).into(), behind: &body[end..] }
}

/// The first line behind a banner that can only be base64: a long one, or the only one.
fn after_banner(lines: &[&[u8]], banner: usize) -> usize {
    let long = |line: &&[u8]| is_base64(line.trim_ascii()) && line.trim_ascii().len() >= 16;
    let found = lines.iter().skip(banner).position(long).map(|at| banner + at);
    found.unwrap_or_else(|| {
        let any = lines.iter().skip(banner).rposition(|line| is_base64(line.trim_ascii()));
        any.map_or(lines.len(), |at| banner + at)
    })
}

/// Whether a line is base64, perhaps with a damaged byte. Words apart, addresses and punctuation
/// are not.
fn is_base64(line: &[u8]) -> bool {
    let foreign = line.iter().filter(|byte| !is_packed(**byte) && **byte != b'=').count();
    let is_address = line.contains(&b'@') || line.windows(3).any(|three| three == b"://");
    !line.is_empty()
        && foreign <= line.len() / 32
        && !is_address
        && !line.iter().any(u8::is_ascii_whitespace)
        && line.iter().any(|byte| is_packed(*byte))
}

fn is_packed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')
}

/// Base64 with any padding: none, too much, or in the middle where two pieces were put together.
pub(super) fn base64(packed: &[u8]) -> Vec<u8> {
    let lenient = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let engine = GeneralPurpose::new(&STANDARD, lenient);
    let mut out = Vec::with_capacity(packed.len() / 4 * 3);
    for piece in packed.split(|byte| *byte == b'=') {
        let mut piece: Vec<u8> = piece.iter().copied().filter(|byte| is_packed(*byte)).collect();
        if piece.len() % 4 == 1 {
            piece.pop();
        }
        out.extend(engine.decode(&piece).unwrap_or_default());
    }
    out
}

pub(super) fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let (line, end) = match line.strip_suffix(b"\r\n") {
            Some(line) => (line, &b"\r\n"[..]),
            None => line.strip_suffix(b"\n").map_or((line, &b""[..]), |line| (line, b"\n")),
        };
        // Spaces at the end were added on the way.
        let line = line.trim_ascii_end();
        match line.strip_suffix(b"=") {
            Some(joined) => unquote(joined, &mut out),
            None => {
                unquote(line, &mut out);
                out.extend_from_slice(end);
            }
        }
    }
    out
}

fn unquote(line: &[u8], out: &mut Vec<u8>) {
    let mut rest = line;
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| *byte == b'=').and_then(|hex| std::str::from_utf8(hex).ok());
        let hex = hex.filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[2..];
            }
            None => {
                out.push(*byte);
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(body: &str, before: &str, content: &str, behind: &str) {
        let read = text(body.as_bytes(), Encoding::Base64);
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(
            [shown(read.before), shown(&read.content), shown(read.behind)],
            [before, content, behind],
            "{body:?}"
        );
    }

    #[test]
    fn what_is_around_base64_is_told_from_it() {
        // "Meet me at the station at noon." in two lines.
        let (one, two) = ("TWVldCBtZSBhdCB0aGUg", "c3RhdGlvbiBhdCBub29uLg==");
        let said = "Meet me at the station at noon.";
        check(&format!("{one}\r\n{two}\r\n"), "", said, "");
        check(&format!("{one}{two}"), "", said, "");
        check(&format!("{one}\n\n{two}\n"), "", said, "");
        let footer = "_______________\nTeam mailing list\nhttps://lists.example.org/x\n";
        check(&format!("{one}\n{two}\n{footer}"), "", said, footer);
        check(&format!("{one}\n{two}\n\nUnsubscribe\n-- \n"), "", said, "\nUnsubscribe\n-- \n");
        check(&format!("[EXTERNAL MAIL]\r\n\r\n{one}\r\n{two}"), "[EXTERNAL MAIL]\r\n\r\n", said, "");
        check("Just words, never encoded.\n", "Just words, never encoded.\n", "", "");
        check("", "", "", "");
    }

    #[test]
    fn padding_may_be_missing_or_in_the_middle() {
        for (packed, said) in [
            ("Zm9v", "foo"),
            ("Zm8", "fo"),
            ("Zg", "f"),
            ("Zg==", "f"),
            ("Zg==Zm8=", "ffo"),
            ("Zm9vY", "foo"),
            ("Zm*9v", "foo"),
            ("=", ""),
        ] {
            assert_eq!(base64(packed.as_bytes()), said.as_bytes(), "{packed}");
        }
    }

    #[test]
    fn quoted_printable_is_read_leniently() {
        let read = |body: &str| String::from_utf8_lossy(&quoted_printable(body.as_bytes())).into_owned();
        assert_eq!(read("A=C3=A4b=\r\nc  \r\nd=\t\r\ne=3 =zz ="), "Aäbc\r\nde=3 =zz ");
        assert_eq!(read("a=20\nb=3D"), "a \nb=");
        assert_eq!(read("=\n=\n"), "");
    }

    #[test]
    fn encodings_are_known_by_sloppy_names() {
        for (name, encoding) in [
            ("BASE64", Encoding::Base64),
            (" base64;x", Encoding::Base64),
            ("Quoted-Printable", Encoding::QuotedPrintable),
            ("7bit", Encoding::None),
            ("", Encoding::None),
        ] {
            assert_eq!(Encoding::named(name), encoding, "{name}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_nothing_panics(body in "([A-Za-z0-9+/=]{0,8}|[ -~]{0,12}|\r?\n){0,12}") {
            let read = text(body.as_bytes(), Encoding::Base64);
            prop_assert!(read.before.len() + read.content.len() + read.behind.len() <= body.len());
            prop_assert!(body.as_bytes().starts_with(read.before) && body.as_bytes().ends_with(read.behind));
            prop_assert!(quoted_printable(body.as_bytes()).len() <= body.len());
        }
    }
}
