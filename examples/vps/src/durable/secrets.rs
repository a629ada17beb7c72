//! Secrets at rest, and their keys.

use std::sync::Arc;

use livos_core::{
    seal::{KeyFile, KeyRing, SealedStore},
    store::{Family, Store},
    time::{Clock, SystemClock},
};
use tower::BoxError;

use super::config::SecretsSection;

/// Opens the store of secrets with the configured keys. A missing key file is created. That is
/// right at the first start and wrong at any later one, so it is logged.
pub async fn open(config: &SecretsSection, store: Arc<dyn Store>) -> Result<SealedStore, BoxError> {
    let ring = match (config.key_ring()?, &config.key_file) {
        (Some(ring), _) => ring,
        (None, Some(path)) => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                if !path.exists() {
                    tracing::warn!(path = %path.display(), "a key for secrets is created: keep a copy of it, apart from the data");
                }
                KeyFile::new(path).load_or_create()
            })
            .await??
        }
        // Nothing outlives the process, so the key need not either.
        (None, None) => KeyRing::generate()?,
    };
    tracing::info!(newest = %ring.newest(), keys = ring.ids().count(), "secrets are sealed");
    Ok(SealedStore::new(store, ring))
}

/// Seals again, with the newest key, what an older key has sealed.
pub async fn reseal(secrets: &SealedStore, families: &[Family]) -> Result<(), BoxError> {
    for family in families {
        let report = secrets.reseal(SystemClock.now(), family).await?;
        if report.resealed > 0 {
            tracing::info!(
                family = family.prefix(),
                resealed = report.resealed,
                complete = report.is_complete(),
                "resealed"
            );
        }
    }
    Ok(())
}
