//! Reads headers and encodings as strictly as the providers write them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header};
use livos_core::time::Timestamp;

use super::VerifyError;

/// The longest id that is taken. The providers' are UUIDs and shorter.
const MAX_ID: usize = 256;

/// A header that may be absent, stands once, and is visible ASCII.
pub(super) fn optional<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, VerifyError> {
    let mut all = headers.get_all(name).iter();
    let Some(value) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(VerifyError::Repeated(name.clone()));
    }
    value.to_str().map(Some).map_err(|_| VerifyError::Malformed(name.clone()))
}

/// A header that stands exactly once.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, VerifyError> {
    optional(headers, name)?.ok_or_else(|| VerifyError::Missing(name.clone()))
}

/// A header with an id: not empty, and no longer than an id is.
pub(super) fn id<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, VerifyError> {
    let id = one(headers, name)?;
    if id.is_empty() || id.len() > MAX_ID {
        return Err(VerifyError::Malformed(name.clone()));
    }
    Ok(id)
}

/// What a header says where nothing depends on it: the first, if it can be read and is short.
pub(super) fn hint(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= MAX_ID).then(|| value.to_owned())
}

/// The type of the body, without its parameters.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Exactly `2 * N` hexadecimal digits, in either case.
pub(super) fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Lower-case hexadecimal digits.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let pair = |byte: &u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    bytes.iter().flat_map(pair).map(char::from).collect()
}

/// Base64 of exactly `N` bytes, in the standard alphabet, with its padding, and with no bits set
/// beyond the last byte.
pub(super) fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Anything longer need not be decoded.
    if text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    STANDARD.decode(text).ok()?.try_into().ok()
}

/// A time in whole seconds since 1970: plain digits without a leading zero.
pub(super) fn seconds(text: &str) -> Option<Timestamp> {
    let plain = (1..=11).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some(Timestamp::from_unix_ms(text.parse::<i64>().ok()? * 1000))
}

/// A header with such a time, which lies within the tolerance of now.
pub(super) fn timely<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(&'a str, Timestamp), VerifyError> {
    let text = one(headers, name)?;
    let time = seconds(text).ok_or_else(|| VerifyError::Malformed(name.clone()))?;
    within(now, time, tolerance)?;
    Ok((text, time))
}

/// Whether a signed time lies within the tolerance of now, on either side; the edges do.
pub(super) fn within(now: Timestamp, signed: Timestamp, tolerance: Duration) -> Result<(), VerifyError> {
    if now.since(signed) > tolerance || signed.since(now) > tolerance {
        return Err(VerifyError::OutsideWindow);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_canonical_base64_is_read() {
        assert_eq!(base64::<2>("AAE="), Some([0, 1]));
        for odd in ["AAE", "AAF=", "AAE =", "AA-=", "AAE==", "AAEA", ""] {
            assert_eq!(base64::<2>(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_plain_seconds_are_read() {
        assert_eq!(seconds("1614265330"), Some(Timestamp::from_unix_ms(1_614_265_330_000)));
        for odd in ["", "+1", "-1", "01", "1.5", " 1", "1 ", "1e3", "999999999999", "１"] {
            assert_eq!(seconds(odd), None, "{odd}");
        }
    }

    #[test]
    fn the_window_has_two_sides_and_its_edges_are_inside() {
        let (now, tolerance) = (Timestamp::from_unix_ms(1_000_000), Duration::from_secs(300));
        let at = |ms| within(now, Timestamp::from_unix_ms(ms), tolerance).is_ok();
        assert!(at(700_000) && at(1_300_000));
        assert!(!at(699_999) && !at(1_300_001));
    }

    proptest! {
        #[test]
        fn hexadecimal_digits_come_back(bytes: [u8; 20]) {
            prop_assert_eq!(hex::<20>(&to_hex(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,90}") {
            let _ = (hex::<32>(&text), base64::<32>(&text), seconds(&text));
        }
    }
}
