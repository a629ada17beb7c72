//! What the client is told, each default with its reason.

use std::time::Duration;

use http::Uri;
use livos_core::backoff::BackoffConfig;

use super::mime::MailLimits;

/// Configuration of a [`super::Gmail`] client.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GmailConfig {
    /// `https://gmail.googleapis.com`, or a server that speaks its wire. A path, if any, stands
    /// before `/gmail/v1`.
    pub base_url: Uri,
    /// The longest request, to the last byte of its answer. 30 s: some megabytes over a slow line.
    pub timeout: Duration,
    /// How often a request that failed for a while is sent again. 2: what lasts longer is the
    /// caller's to wait for. A mail is sent again only where Gmail said that it did not take it.
    pub retries: u32,
    /// The waits between the tries.
    pub backoff: BackoffConfig,
    /// The longest wait inside one call. 10 s: a longer one that Gmail asks for is the caller's,
    /// who is told of it.
    pub longest_wait: Duration,
    /// Requests at one time. 4: Gmail answers "too many concurrent requests for user" to more than
    /// a few.
    pub parallel: usize,
    /// The longest attachment that is fetched, in bytes. 25 MiB: Gmail takes no longer ones in.
    pub max_attachment: usize,
    /// The longest mail that is sent, in bytes as it goes over the wire. 25 MiB: Gmail's own limit.
    pub max_sent: usize,
    /// The bounds of what is read from a mail.
    pub limits: MailLimits,
}

impl Default for GmailConfig {
    fn default() -> Self {
        Self {
            base_url: Uri::from_static("https://gmail.googleapis.com"),
            timeout: Duration::from_secs(30),
            retries: 2,
            backoff: BackoffConfig::default(),
            longest_wait: Duration::from_secs(10),
            parallel: 4,
            max_attachment: 25 << 20,
            max_sent: 25 << 20,
            limits: MailLimits::default(),
        }
    }
}

impl GmailConfig {
    pub(super) fn validate(&self) -> Result<(), InvalidGmailConfig> {
        if self.base_url.scheme().is_none() || self.base_url.authority().is_none() {
            return Err(InvalidGmailConfig("the base URL needs a scheme and a host"));
        }
        if self.parallel == 0 {
            return Err(InvalidGmailConfig("at least one request must be allowed at a time"));
        }
        if self.timeout.is_zero() {
            return Err(InvalidGmailConfig("a request needs some time"));
        }
        Ok(())
    }
}

/// The configuration can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("gmail: {0}")]
pub struct InvalidGmailConfig(pub(super) &'static str);
