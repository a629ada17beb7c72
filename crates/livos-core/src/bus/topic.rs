//! Topics: `livos:{feature}:{name}`, with an id behind it where each thing has its own.

use std::{borrow::Borrow, fmt, sync::Arc};

/// What an event is about. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

impl Topic {
    /// The longest id, in bytes.
    pub const MAX_ID: usize = 512;

    /// The topic of a feature. Both names are of `a-z`, `0-9`, `-` and `_`.
    pub fn new(feature: &str, name: &str) -> Result<Self, InvalidTopic> {
        for part in [feature, name] {
            let known = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
            if part.is_empty() || part.len() > Self::MAX_ID || !part.bytes().all(known) {
                return Err(InvalidTopic);
            }
        }
        Ok(Self(format!("livos:{feature}:{name}").into()))
    }

    /// The same for one thing: of 1 to [`Topic::MAX_ID`] bytes, without control characters.
    pub fn of(&self, id: &str) -> Result<Self, InvalidTopic> {
        if id.is_empty() || id.len() > Self::MAX_ID || id.chars().any(char::is_control) {
            return Err(InvalidTopic);
        }
        Ok(Self(format!("{}:{id}", self.0).into()))
    }

    /// The topic as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.0)
    }
}

/// A name or an id that can't be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a topic is of names of a-z, 0-9, - and _, and an id of 1 to {} bytes without control characters",
    Topic::MAX_ID
)]
pub struct InvalidTopic;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_has_its_feature_its_name_and_its_id() {
        let topic = Topic::new("voice", "session_state").unwrap();
        assert_eq!(topic.of("a:b c").unwrap().as_str(), "livos:voice:session_state:a:b c");
        for (feature, name) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "*"), ("A", "b"), ("a", "ä")] {
            assert_eq!(Topic::new(feature, name), Err(InvalidTopic), "{feature}:{name}");
        }
        for id in ["", "a\nb", &"x".repeat(513)] {
            assert_eq!(topic.of(id), Err(InvalidTopic), "{id:?}");
        }
    }
}
