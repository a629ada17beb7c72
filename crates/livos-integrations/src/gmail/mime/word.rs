//! Encoded words in headers (RFC 2047), as mail programs write them: cut in the middle of a
//! character, without padding, with spaces in them.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{charset, transfer};

/// The value of a header. Adjacent encoded words are joined and encoded again as UTF-8, each as one
/// valid word.
///
/// They stay encoded, so that a comma or a bracket in a name does not become part of the structure
/// of the header.
pub(super) fn normalised(value: &str) -> String {
    rewritten(value, |text| format!("=?utf-8?B?{}?=", STANDARD.encode(text)))
}

/// The value of a header with encoded words decoded.
pub(super) fn decoded(value: &str) -> String {
    rewritten(value, str::to_owned)
}

fn rewritten(value: &str, write: impl Fn(&str) -> String) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some((before, mut words, after)) = next_words(rest) {
        out.push_str(before);
        // One by one, so that nothing has to be decoded twice.
        let text: String = runs(&mut words).iter().map(|run| text_of(run)).collect();
        if !text.is_empty() {
            out.push_str(&write(&text));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// One encoded word, not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word<'a> {
    charset: &'a str,
    is_base64: bool,
    text: &'a str,
}

impl<'a> Word<'a> {
    /// The word that a text begins with, and what follows it.
    fn at_start(text: &'a str) -> Option<(Self, &'a str)> {
        let (charset, rest) = text.strip_prefix("=?")?.split_once('?')?;
        let (encoding, rest) = rest.split_once('?')?;
        let is_base64 = match encoding {
            "B" | "b" => true,
            "Q" | "q" => false,
            _ => return None,
        };
        let is_name =
            |c: char| c.is_ascii_graphic() && !"()<>@,;:\"/[].=".contains(c) || matches!(c, '.' | ':' | '*');
        if charset.is_empty() || !charset.chars().all(is_name) {
            return None;
        }
        // An encoded text may begin with `=`, which makes `?=` of the mark before it.
        let end = rest.find("?=")?;
        let (word, after) = (&rest[..end], &rest[end + 2..]);
        Some((Self { charset, is_base64, text: word }, after))
    }

    fn bytes(&self) -> Vec<u8> {
        if self.is_base64 {
            return transfer::base64(self.text.as_bytes());
        }
        let spaced: Vec<u8> = self.text.bytes().map(|byte| if byte == b'_' { b' ' } else { byte }).collect();
        // Spaces at the end belong to the text here.
        let mut bytes = transfer::quoted_printable(&[spaced.as_slice(), b"|"].concat());
        bytes.pop();
        bytes
    }
}

/// The next words with nothing but white space between them, with what is before and after them.
fn next_words(text: &str) -> Option<(&str, Vec<Word<'_>>, &str)> {
    let (at, (first, mut rest)) =
        text.match_indices("=?").find_map(|(at, _)| Some((at, Word::at_start(&text[at..])?)))?;
    let mut words = vec![first];
    while let Some((word, after)) = Word::at_start(rest.trim_start()) {
        words.push(word);
        rest = after;
    }
    Some((&text[..at], words, rest))
}

/// Neighbours of one charset.
fn runs<'a>(words: &'a mut [Word<'_>]) -> Vec<&'a [Word<'a>]> {
    words.chunk_by(|one, next| one.charset.eq_ignore_ascii_case(next.charset)).collect()
}

/// The text of neighbours. Their bytes are put together before they are decoded, because a
/// character may be cut in two; if that gives nothing readable, other ways of cutting are tried.
fn text_of(run: &[Word<'_>]) -> String {
    let Some(charset) = run.first().map(|word| word.charset) else { return String::new() };
    let decode = |bytes: &[u8]| charset::decode(bytes, Some(charset), None);
    let is_sound = |text: &str| !text.contains('\u{fffd}');
    let bytes: Vec<u8> = run.iter().flat_map(Word::bytes).collect();
    let joined = decode(&bytes);
    if cuts_groups(run) {
        let packed: String = run.iter().map(|word| word.text).collect();
        let repacked = decode(&transfer::base64(packed.as_bytes()));
        if is_sound(&repacked) {
            return repacked;
        }
    }
    if is_sound(&joined) {
        return joined;
    }
    // Charsets with escape sequences reset their state at the start of each word.
    let apart: String = run.iter().map(|word| decode(&word.bytes())).collect();
    if is_sound(&apart) { apart } else { joined }
}

/// Whether base64 was cut within a group, so that its words are sound only together.
fn cuts_groups(run: &[Word<'_>]) -> bool {
    let is_cut = |word: &Word<'_>| word.is_base64 && !word.text.len().is_multiple_of(4);
    run.iter().all(|word| word.is_base64) && run.iter().rev().skip(1).any(is_cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_put_together_before_they_are_decoded() {
        for (value, text) in [
            ("=?utf-8?Q?caf=C3?= =?utf-8?Q?=A9_cr=C3=A8me?=", "café crème"),
            ("=?UTF-8?B?0J/R?=\t=?utf-8?b?gNC40LLQtdGC?=", "Привет"),
            ("=?utf-8?B?Y2Fmw6k?=", "café"),
            ("=?utf-8?B?Y2Fmw?= =?utf-8?B?6kgbGE=?=", "café la"),
            ("=?utf-8?B?Y2E=?= =?utf-8?Q?f=C3=A9?=", "café"),
            ("=?iso-8859-1?Q?caf=E9?= =?utf-8?Q?_=E2=82=AC?=", "café €"),
            ("=?iso-2022-jp?B?GyRCJTAlLRsoQg==?= =?iso-2022-jp?B?GyRCJTAbKEI=?=", "グキグ"),
            ("a =?utf-8?q?b?= c =?utf-8?Q?d?=", "a b c d"),
            ("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
            ("=?utf-8?Q?with spaces_in it ?=", "with spaces in it "),
            ("=?utf-8?Q?=3D?= =?utf-8?Q??=x", "=x"),
            ("=?utf-8?X?no?= =? =?=", "=?utf-8?X?no?= =? =?="),
        ] {
            assert_eq!(decoded(value), text, "{value}");
            assert_eq!(decoded(&normalised(value)), text, "{value}");
        }
        assert_eq!(normalised("=?utf-8?Q?a,?= <a@b.c>"), "=?utf-8?B?YSw=?= <a@b.c>");
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(value in "(=\\?|\\?=|\\?|utf-8|gbk|[BQ]|[ -~äé]{0,6}|=[0-9A-F]{2}){0,20}") {
            let once = normalised(&value);
            prop_assert_eq!(decoded(&once).is_empty(), decoded(&value).is_empty());
        }
    }
}
