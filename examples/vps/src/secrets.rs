//! Secrets at rest: where their keys lie, and what is sealed with them.

use std::sync::Arc;

use livos_core::{
    seal::{KeyFile, KeyRing, SealedStore},
    store::{Family, Store},
    time::{Clock, SystemClock},
};
use livos_integrations::oauth;
use tower::BoxError;

use crate::{config, pairing};

/// The families of keys whose values are sealed. Whoever keeps something in one of them does so
/// through [`open`]'s store.
const SEALED: &[Family] = &[oauth::GRANTS, oauth::PENDING, pairing::KEY];

/// The store of secrets, with the keys of the configuration. A key file that is not there is made,
/// which is right at the first start, and told, because it is wrong at any later one.
pub async fn open(config: &config::Secrets, store: Arc<dyn Store>) -> Result<SealedStore, BoxError> {
    let ring = match (&config.keys, &config.key_file) {
        (Some(keys), _) => {
            KeyRing::parse(keys).map_err(|error| format!("secrets.keys (LIVOS_KEYS): {error}"))?
        }
        (None, Some(path)) => {
            let path = path.clone();
            tokio::task::spawn_blocking(move || {
                if !path.exists() {
                    tracing::warn!(path = %path.display(), "a key for secrets is made: keep a copy of it, and not with the data");
                }
                KeyFile::new(path).load_or_create()
            })
            .await??
        }
        // Nothing outlives the process, so neither need the key.
        (None, None) => KeyRing::generate()?,
    };
    tracing::info!(newest = %ring.newest(), keys = ring.ids().count(), "secrets are sealed");
    Ok(SealedStore::new(store, ring))
}

/// Brings whatever is under an older key under the newest.
pub async fn reseal(secrets: &SealedStore) -> Result<(), BoxError> {
    for family in SEALED {
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
