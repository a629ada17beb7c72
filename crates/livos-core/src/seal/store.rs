//! A store whose values are sealed.

use std::sync::Arc;

use bytes::Bytes;

use super::{KeyRing, SealError};
use crate::{
    secret::SecretBytes,
    store::{Family, Key, Lifetime, Put, Store, StoreError},
    time::Timestamp,
};

/// Takes and gives secrets; what it writes into the [`Store`] below is sealed. Cloning shares both.
///
/// Everything in a family should go through it, or nothing: [`SealedStore::reseal`] reports values
/// in the clear as unreadable.
#[derive(Clone)]
pub struct SealedStore {
    store: Arc<dyn Store>,
    pub(super) ring: KeyRing,
}

/// A secret and its version, as of an [`Entry`](crate::store::Entry).
#[derive(Debug)]
pub struct SealedEntry {
    /// The secret in the clear.
    pub secret: SecretBytes,
    /// How often the key was written since it was created. Resealing counts.
    pub version: u64,
}

/// The result of resealing a family under the newest key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Records that were looked at, each once.
    pub records: u64,
    /// Records that were brought under the newest key.
    pub resealed: u64,
    /// Records that others kept writing, and that may still be under an older key: begin again.
    /// Zero unless a process with an older ring is at work.
    pub contended: u64,
    /// Records that can't be opened, with the reason; the first [`Resealed::MOST`] of them. They
    /// were left as they are.
    pub unreadable: Vec<(String, SealError)>,
    /// How many such records there are, also beyond that bound.
    pub unreadable_total: u64,
}

impl Resealed {
    /// The most records that a report names.
    pub const MOST: usize = 100;

    /// Whether everything is under the newest key now, so that older ones may be retired.
    pub fn is_complete(&self) -> bool {
        self.contended == 0 && self.unreadable_total == 0
    }
}

/// Records of a page. A page is scanned twice, and holds the names and versions of its records but
/// no value.
const PAGE: usize = 200;
/// How often the family is gone through for records that others wrote at the same moment. Each pass
/// but the first finds only those.
const PASSES: usize = 4;

impl SealedStore {
    /// Seals with the newest key of this ring what goes into this store.
    pub fn new(store: Arc<dyn Store>, ring: KeyRing) -> Self {
        Self { store, ring }
    }

    /// The secret under `key`, if it lives. One that can't be opened is counted in
    /// `livos_seal_failures_total`.
    pub async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<SealedEntry>, SealedError> {
        let Some(entry) = self.store.get(now, key).await? else { return Ok(None) };
        let secret = self.ring.open(key.as_str(), &entry.value).map_err(|source| opening(key, source))?;
        Ok(Some(SealedEntry { secret, version: entry.version }))
    }

    /// Writes whatever was there before, and answers the new version.
    pub async fn put(
        &self,
        now: Timestamp,
        key: &Key,
        secret: impl Into<SecretBytes>,
    ) -> Result<u64, SealedError> {
        Ok(self.store.put(now, key, self.seal(key, &secret.into())?).await?)
    }

    /// Writes only if the stored version is `version`; `None` means that the key must be absent.
    pub async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        secret: impl Into<SecretBytes>,
        version: Option<u64>,
    ) -> Result<Put, SealedError> {
        Ok(self.store.put_if(now, key, self.seal(key, &secret.into())?, version).await?)
    }

    /// Removes a secret; true when one was there. It need not be one that opens.
    pub async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, SealedError> {
        Ok(self.store.remove(now, key).await?)
    }

    /// Brings all records of a family under the newest key. What is under it already is left alone,
    /// so it may be stopped and begun again, by several processes too; a record that is written
    /// meanwhile keeps what was written. Each record keeps the instant of its expiry.
    ///
    /// Records that can't be opened are logged and reported, and don't hold up the others.
    pub async fn reseal(&self, now: Timestamp, family: &Family) -> Result<Resealed, SealedError> {
        let mut report = Resealed::default();
        for pass in 0..PASSES {
            let mut seen = Resealed::default();
            self.pass(now, family, &mut seen).await?;
            let resealed = report.resealed + seen.resealed;
            report = Resealed { resealed, ..seen };
            if report.contended == 0 {
                break;
            }
            tracing::debug!(
                pass,
                contended = report.contended,
                "records were written while they were resealed"
            );
        }
        if let Some((key, error)) = report.unreadable.first() {
            let total = report.unreadable_total;
            tracing::error!(total, first = key, %error, "sealed records can't be opened and were left as they are");
        }
        Ok(report)
    }

    async fn pass(&self, now: Timestamp, family: &Family, seen: &mut Resealed) -> Result<(), SealedError> {
        let (prefix, mut after) = (family.prefix(), None::<String>);
        loop {
            let page = self.store.scan(now, &prefix, after.as_deref(), PAGE).await?;
            let mut stale = Vec::new();
            for found in &page {
                let Some(key) = found.key.strip_prefix(&prefix).and_then(|id| family.key(id).ok()) else {
                    continue;
                };
                let Some(entry) = self.store.get(now, &key).await? else { continue };
                seen.records += 1;
                if KeyRing::key_of(&entry.value) != Ok(self.ring.newest()) {
                    stale.push((key, entry.version));
                }
            }
            if !stale.is_empty() {
                // The expiry is asked for after the version: a write in between changes the
                // version, and is noticed.
                let again = self.store.scan(now, &prefix, after.as_deref(), PAGE + stale.len()).await?;
                for (key, version) in stale {
                    let found = again.iter().find(|found| found.key == key.as_str());
                    match found {
                        Some(found) => self.renew(now, &key, version, found.expires, seen).await?,
                        None => seen.contended += 1,
                    }
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back().map(|last| last.key);
        }
    }

    /// Brings one record under the newest key, if `version` still stands.
    async fn renew(
        &self,
        now: Timestamp,
        key: &Key,
        version: u64,
        expires: Option<Timestamp>,
        seen: &mut Resealed,
    ) -> Result<(), SealedError> {
        let Some(entry) = self.store.get(now, key).await? else { return Ok(()) };
        let secret = match self.ring.open(key.as_str(), &entry.value) {
            Ok(secret) => secret,
            Err(error) => {
                seen.unreadable_total += 1;
                if seen.unreadable.len() < Resealed::MOST {
                    seen.unreadable.push((key.to_string(), error));
                }
                return Ok(());
            }
        };
        let as_long = match expires {
            Some(at) => key.clone().living(Lifetime::For(at.since(now))),
            None => key.clone(),
        };
        match self.store.put_if(now, &as_long, self.seal(key, &secret)?, Some(version)).await? {
            Put::Written(_) => seen.resealed += 1,
            // It expired meanwhile.
            Put::Conflict(None) => {}
            Put::Conflict(Some(_)) => seen.contended += 1,
        }
        Ok(())
    }

    fn seal(&self, key: &Key, secret: &SecretBytes) -> Result<Bytes, SealedError> {
        let sealed = self.ring.seal(key.as_str(), secret.expose());
        sealed.map(Bytes::from).map_err(|source| SealedError::Seal {
            what: "sealed",
            key: key.to_string(),
            source,
        })
    }
}

fn opening(key: &Key, source: SealError) -> SealedError {
    metrics::counter!("livos_seal_failures_total").increment(1);
    SealedError::Seal { what: "opened", key: key.to_string(), source }
}

impl std::fmt::Debug for SealedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedStore").field("ring", &self.ring).finish_non_exhaustive()
    }
}

/// Why a call of the sealed store failed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SealedError {
    /// The secret could not be sealed or opened.
    #[error("the secret under {key} can't be {what}")]
    Seal {
        /// Which of the two failed.
        what: &'static str,
        /// Under which key of the store.
        key: String,
        /// What is wrong with the sealed value.
        source: SealError,
    },
    /// The store below failed.
    #[error("the store of the secrets failed")]
    Store(#[from] StoreError),
}

impl SealedError {
    /// Whether the same call may succeed later although nothing is changed.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_temporary())
    }
}
