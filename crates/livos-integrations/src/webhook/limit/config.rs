//! Who sends, and how much one sender may.

use std::{net::IpAddr, time::Duration};

/// Who sent a request: an extension that the server inserts, from its socket or from a proxy that
/// it trusts. Requests without it count as one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source(pub IpAddr);

/// How much one source may send to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitConfig {
    /// Failures of one source in [`LimitConfig::per`], evenly after the first burst. 30 by default.
    /// After that each failure is answered with 429 and `Retry-After`; a correct signature passes.
    pub requests: u32,
    /// The time for that many. A minute.
    pub per: Duration,
    /// Whether verified requests count too. False by default: a provider that delivers much is
    /// bounded by the queue, and some (GitHub) never send again what a limit refused. If true, a
    /// source over its limit is refused before anything is read, whatever it signs.
    pub count_verified: bool,
    /// Sources that are remembered at one time. 10 000, about a megabyte. While more than that are
    /// busy, the others share one bucket.
    pub sources: usize,
    /// Bodies of sources over their limit that an endpoint reads at one time: so many of sources
    /// that were verified before, and so many of all others. 16 by default, which is at most 32 MiB
    /// with the default length of a body. A further body takes the place of the oldest.
    pub reserve: usize,
}

impl Default for LimitConfig {
    fn default() -> Self {
        Self {
            requests: 30,
            per: Duration::from_secs(60),
            count_verified: false,
            sources: 10_000,
            reserve: 16,
        }
    }
}

impl LimitConfig {
    /// Sets [`LimitConfig::requests`] and the time for them.
    #[must_use]
    pub fn with_rate(self, requests: u32, per: Duration) -> Self {
        Self { requests, per, ..self }
    }

    /// Counts verified requests too, see [`LimitConfig::count_verified`].
    #[must_use]
    pub fn with_verified_counted(self) -> Self {
        Self { count_verified: true, ..self }
    }

    /// Sets [`LimitConfig::sources`].
    #[must_use]
    pub fn with_sources(self, sources: usize) -> Self {
        Self { sources, ..self }
    }

    /// Sets [`LimitConfig::reserve`].
    #[must_use]
    pub fn with_reserve(self, reserve: usize) -> Self {
        Self { reserve, ..self }
    }
}
