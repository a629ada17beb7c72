//! Where one provider is, and what opens it.

use http::Uri;
use livos_core::{reconnect::ReconnectConfig, secret::Secret};

use crate::config::{ConfigError, provider_url};

/// One provider's address and key.
pub struct Endpoint {
    pub url: Uri,
    /// The key. A wire-compatible server on loopback may need none; it gets one that says so.
    pub key: Secret,
    /// Whether a twin replaces it.
    pub simulated: bool,
}

impl Endpoint {
    /// The configured address and key, else the provider's `own` address; the twin's if neither is
    /// configured. `key` and the schemes are for the error.
    pub fn new(
        setting: &'static str,
        (secure, plain): (&str, &str),
        configured: (Option<&String>, Option<&Secret>),
        own: &str,
        twin: Option<&str>,
    ) -> Result<Self, ConfigError> {
        let (url, key, simulated) = match (configured, twin) {
            ((None, None), Some(twin)) => (twin, Secret::new("twin"), true),
            ((url, key), _) => {
                let key = key.cloned().unwrap_or_else(|| Secret::new("no-key-configured"));
                (url.map_or(own, String::as_str), key, false)
            }
        };
        Ok(Self { url: provider_url(setting, url, secure, plain)?, key, simulated })
    }
}

/// Sets what is configured and leaves the client's own default otherwise.
pub fn set<T>(setting: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *setting = value;
    }
}

/// Sets the waits before connecting again.
pub fn set_reconnect(
    config: &mut ReconnectConfig,
    first: Option<std::time::Duration>,
    longest: Option<std::time::Duration>,
) {
    set(&mut config.backoff.first, first);
    set(&mut config.backoff.longest, longest);
}
