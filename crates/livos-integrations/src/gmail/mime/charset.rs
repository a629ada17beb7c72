//! Bytes as text, by the charset that the sender names, or by the most likely one if the name is
//! missing, unknown or wrong.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;

/// Decodes bytes. `declared` is the charset of these bytes; `nearby` is one that the same mail
/// names elsewhere, which helps with bytes that name none.
pub(super) fn decode(bytes: &[u8], declared: Option<&str>, nearby: Option<&str>) -> String {
    let name = declared.map(cleaned).unwrap_or_default();
    match name.as_str() {
        "" | "utf-8" | "utf8" | "us-ascii" | "ascii" | "unknown-8bit" => guess(bytes, nearby),
        "hz-gb-2312" | "hz" => named("gbk", &shifted(bytes, (b"~{", b"~}"))),
        "iso-2022-kr" => named("euc-kr", &shifted(&without_korean_mark(bytes), (b"\x0e", b"\x0f"))),
        _ => match charset_decoder(name.as_bytes()) {
            Some(decode) => without_mark(decode(bytes)),
            None => guess(bytes, nearby),
        },
    }
}

fn cleaned(name: &str) -> String {
    name.trim().trim_matches(['"', '\'']).split('*').next().unwrap_or_default().to_ascii_lowercase()
}

fn named(name: &str, bytes: &[u8]) -> String {
    charset_decoder(name.as_bytes()).map_or_else(|| latin(bytes), |decode| decode(bytes))
}

/// UTF-8 if it is valid; Japanese if there are its escapes; else the charset nearby, or that of
/// western Windows, in which every byte means something.
fn guess(bytes: &[u8], nearby: Option<&str>) -> String {
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return without_mark(named("utf-16", bytes));
    }
    if bytes.windows(2).any(|two| matches!(two, b"\x1b$")) {
        return named("iso-2022-jp", bytes);
    }
    let Err(_) = std::str::from_utf8(bytes) else {
        return without_mark(String::from_utf8_lossy(bytes).into_owned());
    };
    let nearby = nearby.map(cleaned).filter(|name| !matches!(name.as_str(), "utf-8" | "utf8" | "us-ascii"));
    if let Some(decode) = nearby.and_then(|name| charset_decoder(name.as_bytes())) {
        return decode(bytes);
    }
    let lossy = String::from_utf8_lossy(bytes);
    let broken = lossy.matches('\u{fffd}').count();
    let sound = lossy.chars().filter(|c| !c.is_ascii() && *c != '\u{fffd}').count();
    if sound > broken { without_mark(lossy.into_owned()) } else { latin(bytes) }
}

fn latin(bytes: &[u8]) -> String {
    let decode = charset_decoder(b"windows-1252");
    decode.map_or_else(|| String::from_utf8_lossy(bytes).into_owned(), |decode| decode(bytes))
}

/// Without the mark that some writers put before a text.
fn without_mark(text: String) -> String {
    match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

/// Seven-bit text that shifts in and out of a set of two-byte characters, with the eighth bit set
/// instead.
fn shifted(bytes: &[u8], (begin, end): (&[u8], &[u8])) -> Vec<u8> {
    let (mut out, mut rest, mut shifted) = (Vec::with_capacity(bytes.len()), bytes, false);
    while let Some((byte, after)) = rest.split_first() {
        let mark = if shifted { end } else { begin };
        if let Some(after) = rest.strip_prefix(mark) {
            (rest, shifted) = (after, !shifted);
            continue;
        }
        // A line ends a shift that was not ended.
        shifted &= *byte != b'\n';
        out.push(if shifted { byte | 0x80 } else { *byte });
        rest = after;
    }
    out
}

/// Without the escape that announces Korean at the beginning.
fn without_korean_mark(bytes: &[u8]) -> Cow<'_, [u8]> {
    match bytes.windows(4).position(|four| four == b"\x1b$)C") {
        Some(at) => [&bytes[..at], &bytes[at + 4..]].concat().into(),
        None => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_decoded_by_the_declared_or_the_likely_charset() {
        for (bytes, declared, nearby, text) in [
            (&b"Gr\xfc\xdfe"[..], Some("iso-8859-1"), None, "Grüße"),
            (b"Gr\xfc\xdfe", None, None, "Grüße"),
            (b"Gr\xfc\xdfe \x80", Some("utf-8"), None, "Grüße €"),
            ("Grüße".as_bytes(), Some("us-ascii"), None, "Grüße"),
            ("\u{feff}Grüße".as_bytes(), Some("utf-8"), None, "Grüße"),
            (b"\xcf\xf0\xe8\xe2\xe5\xf2", None, Some("windows-1251"), "Привет"),
            (b"\xf0\xd2\xc9\xd7\xc5\xd4", Some("KOI8-R"), None, "Привет"),
            (b"\x1b$B%O%m!<\x1b(B", None, None, "ハロー"),
            (b"\xa7A\xa6n", Some("\"Big5\""), None, "你好"),
            (b"~{<:Ky2;~} ok", Some("hz-gb-2312"), None, "己所不 ok"),
            (b"\x1b$)C\x0e>H3gGO<<?d\x0f!", Some("iso-2022-kr"), None, "안녕하세요!"),
            (b"\xff\xfea\x00b\x00", None, None, "ab"),
            (b"caf\xc3\xa9 \xc3\xa0 la \xe9", None, None, "café à la \u{fffd}"),
            (b"plain", Some("x-nobody-knows"), None, "plain"),
            (b"", Some(""), Some(""), ""),
        ] {
            assert_eq!(decode(bytes, declared, nearby), text, "{declared:?}");
        }
    }
}
