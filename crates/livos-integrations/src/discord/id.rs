//! Discord's ids: numbers that carry when they were made, written as text on the wire.

use std::{fmt, str::FromStr, time::Duration};

use livos_core::time::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The id of a user, a channel, a message, an interaction: whatever Discord numbers. Later ones are
/// greater.
///
/// ```
/// use livos_integrations::discord::Id;
///
/// let id: Id = "175928847299117063".parse()?;
/// assert_eq!(id.created_at().unix_ms(), 1_462_015_105_796);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// The first instant of Discord's calendar, in milliseconds since 1970.
const EPOCH_MS: u64 = 1_420_070_400_000;

impl Id {
    /// The id with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The least id of this time; what was made before is smaller.
    pub fn at(time: Timestamp) -> Self {
        let ms = u64::try_from(time.unix_ms()).unwrap_or(0);
        Self(ms.saturating_sub(EPOCH_MS) << 22)
    }

    /// When Discord made it.
    pub fn created_at(self) -> Timestamp {
        Timestamp::from_unix_ms(0).plus(Duration::from_millis((self.0 >> 22) + EPOCH_MS))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Id({})", self.0)
    }
}

/// The text is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of Discord is a decimal number of at most 64 bits")]
pub struct InvalidSnowflake;

impl FromStr for Id {
    type Err = InvalidSnowflake;

    fn from_str(text: &str) -> Result<Self, InvalidSnowflake> {
        // The standard parser would take a sign.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidSnowflake);
        }
        text.parse().map(Self).map_err(|_| InvalidSnowflake)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_time_is_below_all_that_is_made_then() {
        let id = Id::new(175_928_847_299_117_063);
        assert!(Id::at(id.created_at()) <= id);
        assert!(Id::at(id.created_at().plus(Duration::from_millis(1))) > id);
        assert_eq!(Id::at(Timestamp::from_unix_ms(0)), Id::new(0));
    }

    #[test]
    fn only_plain_decimal_text_is_an_id() {
        for text in ["", "+1", "-1", " 1", "1.0", "18446744073709551616", "x"] {
            assert!(text.parse::<Id>().is_err(), "{text:?}");
        }
        assert_eq!("18446744073709551615".parse::<Id>(), Ok(Id(u64::MAX)));
        assert!(serde_json::from_str::<Id>("17").is_err(), "a number would lose digits elsewhere");
        assert_eq!(serde_json::to_string(&Id(17)).unwrap(), "\"17\"");
    }
}
