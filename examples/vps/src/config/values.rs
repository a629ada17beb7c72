//! Values as people write them.

use std::{fmt::Display, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// Deserializes a duration as people write it: `"250ms"`, `"10s"`, `"5m"`.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).ok_or_else(|| {
        de::Error::custom("a duration is a number and `ms`, `s`, `m` or `h`, such as \"250ms\"")
    })
}

/// Deserializes a duration that may be absent.
pub fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

/// Deserializes a text into anything that can be parsed from one.
pub fn parsed<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
where
    T: FromStr,
    T::Err: Display,
{
    String::deserialize(from)?.parse().map_err(de::Error::custom)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = text[digits.len()..].trim();
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_a_unit() {
        let table =
            [("250ms", Some(250)), ("10 s", Some(10_000)), ("2m", Some(120_000)), ("1h", Some(3_600_000))];
        for (text, expected) in table {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "99999999999999999999s", "10 parsecs"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
