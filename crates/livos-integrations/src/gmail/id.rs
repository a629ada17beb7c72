//! Names that Gmail gives, checked once, so that they can stand in a path or a key without being
//! looked at again.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// An id that is empty, too long, or holds what no id of Gmail holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of gmail is of letters, digits, '-' and '_', and not longer than {0}")]
pub struct InvalidGmailId(usize);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $most:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// As Gmail writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidGmailId;

            fn try_from(text: String) -> Result<Self, InvalidGmailId> {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                match !text.is_empty() && text.len() <= $most && text.bytes().all(allowed) {
                    true => Ok(Self(text)),
                    false => Err(InvalidGmailId($most)),
                }
            }
        }

        impl TryFrom<&str> for $name {
            type Error = InvalidGmailId;

            fn try_from(text: &str) -> Result<Self, InvalidGmailId> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A message.
    MessageId, 64
);
id!(
    /// A conversation in the sense of Gmail.
    ThreadId, 64
);
id!(
    /// A label: `INBOX` and other names in capitals, or `Label_…` for those of the user.
    LabelId, 128
);
id!(
    /// An attachment of one message. Gmail gives another each time a message is read, so it is used
    /// at once and never kept.
    AttachmentId, 2048
);

impl LabelId {
    /// The label of mail that is not archived.
    pub fn inbox() -> Self {
        Self("INBOX".into())
    }
}

/// A place in the history of a mailbox. Later ones are greater; the distance says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct HistoryId(pub u64);

impl fmt::Display for HistoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for HistoryId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for HistoryId {
    /// From text, as the API writes 64-bit numbers, or from a number, as notifications do at times.
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        number(from).map(Self)
    }
}

/// A 64-bit number that stands as text or as a number.
pub(super) fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Written::deserialize(from)? {
        Written::Number(number) => Ok(number),
        Written::Text(text) => {
            text.parse().map_err(|_| D::Error::custom("a number stands there as other text"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_leave_its_place_in_a_path_is_no_id() {
        for text in ["", "a/b", "..", "a b", "a?b", "ä", &"x".repeat(65)] {
            assert!(MessageId::try_from(text).is_err(), "{text:?}");
        }
        assert_eq!(MessageId::try_from("18c2-f_A").unwrap().as_str(), "18c2-f_A");
        assert!(serde_json::from_str::<MessageId>("\"../labels\"").is_err());
    }

    #[test]
    fn a_history_id_is_read_from_text_and_from_a_number_and_written_as_text() {
        let read = |json: &str| serde_json::from_str::<HistoryId>(json).ok();
        assert_eq!(
            (read("\"18446744073709551615\""), read("12")),
            (Some(HistoryId(u64::MAX)), Some(HistoryId(12)))
        );
        assert_eq!((read("\"-1\""), read("1.5"), read("\"\"")), (None, None, None));
        assert_eq!(serde_json::to_string(&HistoryId(7)).unwrap(), "\"7\"");
    }
}
