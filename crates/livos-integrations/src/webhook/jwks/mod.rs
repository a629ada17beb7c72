//! The public keys by which a provider signs its tokens (a JSON Web Key Set), fetched when they are
//! needed and no more often than that.
//!
//! Strangers choose the ids of the keys that their tokens ask for. So an id that is not known
//! causes one fetch at the most, no two fetches begin within a minute, all requests share the one
//! that is under way, and a fetch goes on although the request that caused it has gone away. Keys
//! outlive the time for which they are fresh while their server fails, up to a bound.

mod cache;
mod document;

use std::{
    fmt,
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri};
use livos_core::{
    http::{BoxError, HttpClient},
    time::Timestamp,
};
use tokio::sync::Mutex as Flight;

pub use self::{
    cache::{KeyCache, Lookup},
    document::Key,
};
/// Where the keys are, and how often they are asked for.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct JwksConfig {
    /// Where they are. Google's.
    pub url: Uri,
    /// How long after the beginning of one fetch no other begins. A minute: nobody rotates faster,
    /// and a stranger causes no more than that.
    pub min_interval: Duration,
    /// How long keys are used after their last fetch, while further ones fail. A day: outages are
    /// shorter, and a key that was taken back is gone by then.
    pub max_stale: Duration,
    /// How long a fetch may take. 5 s: requests wait for it.
    pub timeout: Duration,
}

impl Default for JwksConfig {
    fn default() -> Self {
        Self {
            url: Uri::from_static("https://www.googleapis.com/oauth2/v3/certs"),
            min_interval: Duration::from_secs(60),
            max_stale: Duration::from_secs(24 * 3600),
            timeout: Duration::from_secs(5),
        }
    }
}

/// The largest set that is read, in bytes. Google's has two keys and less than 2 KiB.
const MAX_DOCUMENT: usize = 64 * 1024;

/// A provider's keys. A clone shares them.
#[derive(Clone)]
pub struct Jwks(Arc<Inner>);

struct Inner {
    config: JwksConfig,
    http: HttpClient,
    cache: std::sync::Mutex<KeyCache>,
    flight: Arc<Flight<()>>,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks").field("url", &self.0.config.url).finish_non_exhaustive()
    }
}

impl Jwks {
    /// Keys that are fetched over any HTTP service. None is fetched before it is needed.
    pub fn new(config: JwksConfig, http: HttpClient) -> Self {
        let cache = KeyCache::new(config.min_interval, config.max_stale).into();
        Self(Arc::new(Inner { config, http, cache, flight: Arc::default() }))
    }

    fn cache(&self) -> MutexGuard<'_, KeyCache> {
        self.0.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a key.
    pub fn lookup(&self, now: Timestamp, kid: &str) -> Lookup {
        self.cache().lookup(now, kid)
    }

    /// Fetches the keys if that is what [`Jwks::lookup`] asks for, or waits for the fetch that is
    /// under way. Ends within the configured time, twice at the most. May be cancelled: a fetch
    /// that began goes on. Must be called inside a tokio runtime.
    pub async fn prepare(&self, now: Timestamp, kid: String) {
        if self.lookup(now, &kid) != Lookup::Fetch {
            return;
        }
        let flight = Arc::clone(&self.0.flight).lock_owned().await;
        // Somebody else's fetch may have brought it.
        if self.lookup(now, &kid) != Lookup::Fetch {
            return;
        }
        self.cache().begin(now);
        let this = self.clone();
        // On its own, because a stranger who hangs up would otherwise cut off the fetch that others
        // wait for.
        let fetch = tokio::spawn(async move {
            let fetched = tokio::time::timeout(this.0.config.timeout, this.fetch()).await;
            match fetched.unwrap_or_else(|_| Err(BoxError::from("its server took too long"))) {
                Ok((keys, max_age)) => this.cache().fetched(now, keys, max_age, &kid),
                Err(error) => {
                    metrics::counter!("livos_webhook_jwks_failures_total").increment(1);
                    tracing::warn!(%error, url = %this.0.config.url, "the provider's keys could not be fetched");
                }
            }
            drop(flight);
        });
        let _ = fetch.await;
    }

    async fn fetch(&self) -> Result<(Vec<Key>, Option<Duration>), BoxError> {
        let request = Request::get(self.0.config.url.clone()).body(Bytes::new())?;
        let response = self.0.http.send(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("its server answered {}", response.status()).into());
        }
        let (head, body) = response.into_parts();
        let document = body.read(MAX_DOCUMENT).await?;
        let keys = document::keys(&document).ok_or("its server answered no set of keys")?;
        Ok((keys, document::max_age(&head.headers)))
    }
}
