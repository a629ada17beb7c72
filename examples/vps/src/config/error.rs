//! Why a configuration is refused.

/// The configuration can't be used. The text names the key and what is wrong with it. It never
/// contains a value from the file, because that may be a secret.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

impl ConfigError {
    /// A refusal of one key, such as `server.token`.
    pub fn of(key: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{key}: {why}"))
    }
}
