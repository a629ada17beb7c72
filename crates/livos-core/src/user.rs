//! Who a message is from and whose usage is counted.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Names one person whose usage is counted and limited.
///
/// One to 128 ASCII letters, digits, or `-`, `_`, `.`, `:`; anything else is refused, so that it
/// can stand in a key of the store.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// The text is not a valid [`UserId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a user id is 1 to 128 ASCII letters, digits, '-', '_', '.' or ':'")]
pub struct InvalidUserId(());

impl UserId {
    /// The longest id, in bytes.
    pub const MAX_LEN: usize = 128;

    /// The operator of a deployment for one person.
    pub fn owner() -> Self {
        Self("owner".into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for UserId {
    type Error = InvalidUserId;

    fn try_from(text: &str) -> Result<Self, InvalidUserId> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if text.is_empty() || text.len() > Self::MAX_LEN || !text.bytes().all(allowed) {
            return Err(InvalidUserId(()));
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;

    fn try_from(text: String) -> Result<Self, InvalidUserId> {
        Self::try_from(text.as_str())
    }
}

impl From<UserId> for String {
    fn from(user: UserId) -> Self {
        user.0.as_ref().to_owned()
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_could_break_a_key_is_refused() {
        for bad in ["", "a/b", "a b", "a\n", "é", &"x".repeat(129)] {
            assert!(UserId::try_from(bad).is_err(), "{bad:?}");
        }
        assert_eq!(UserId::try_from("telegram:42").unwrap().as_str(), "telegram:42");
        assert!(serde_json::from_str::<UserId>("\"a/b\"").is_err());
    }
}
