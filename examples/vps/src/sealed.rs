//! The keys that open the secrets in the store: from the environment, or from a file that is made where it is not there.

use std::{path::Path, sync::Arc};

use livos_core::{
    seal::{KeyFile, KeyRing, SealedStore},
    store::Store,
};
use tower::BoxError;

use crate::config;

/// Secrets in `store`, under the configured keys. In memory they are gone with what they seal.
pub fn open(config: &config::Store, store: Arc<dyn Store>) -> Result<SealedStore, BoxError> {
    let in_memory = config.path.as_deref() == Some(Path::new(config::Store::MEMORY));
    let ring = match (&config.keys, &config.key_file) {
        (Some(keys), _) => KeyRing::parse(keys).map_err(|error| format!("LIVOS_KEYS: {error}"))?,
        (None, Some(file)) => KeyFile::new(file).load_or_create()?,
        (None, None) if in_memory => KeyRing::generate()?,
        (None, None) => {
            let beside = config.path.clone().unwrap_or_default().with_extension("keys");
            KeyFile::new(beside).load_or_create()?
        }
    };
    Ok(SealedStore::new(store, ring))
}
