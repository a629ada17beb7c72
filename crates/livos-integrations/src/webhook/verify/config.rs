//! The bounds of an endpoint.

use std::time::Duration;

/// The bounds of what is read, and when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyConfig {
    /// The longest body, in bytes. 1 MiB less 16 KiB: with the headers that are stored with it, it
    /// fits into a job.
    pub max_body: usize,
    /// How long a whole body may take to come in. 10 s: providers give up at about that time.
    pub body_timeout: Duration,
    /// How long the queue may take. 8 s: providers give up after 10 s, and a repeat is a duplicate.
    pub enqueue_timeout: Duration,
    /// When to come again after the queue was full, or failed. 30 s: a full queue drains in
    /// minutes, and providers make it longer by themselves.
    pub retry_after: Duration,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            max_body: livos_core::queue::NewJob::MAX_PAYLOAD - 16 * 1024,
            body_timeout: Duration::from_secs(10),
            enqueue_timeout: Duration::from_secs(8),
            retry_after: Duration::from_secs(30),
        }
    }
}

impl VerifyConfig {
    /// Sets [`VerifyConfig::max_body`].
    #[must_use]
    pub fn with_max_body(self, max_body: usize) -> Self {
        Self { max_body, ..self }
    }

    /// Sets [`VerifyConfig::body_timeout`].
    #[must_use]
    pub fn with_body_timeout(self, body_timeout: Duration) -> Self {
        Self { body_timeout, ..self }
    }

    /// Sets [`VerifyConfig::enqueue_timeout`].
    #[must_use]
    pub fn with_enqueue_timeout(self, enqueue_timeout: Duration) -> Self {
        Self { enqueue_timeout, ..self }
    }

    /// Sets [`VerifyConfig::retry_after`].
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after, ..self }
    }
}
