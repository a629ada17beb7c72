//! A store that answers at once, on whatever clock runs: tests in virtual time can't wait for
//! another thread.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::embedded::StorageError;
use crate::store::{Entry, Found, Key, Lifetime, Put, StoreError, check_field, check_value};

#[derive(Debug, Default)]
pub(super) struct MapStore {
    map: Mutex<Map>,
    /// Whether it answers with an error that may pass.
    pub(super) fails: AtomicBool,
}

#[derive(Debug, Default)]
struct Map {
    values: BTreeMap<String, (Entry, Option<Timestamp>)>,
    counters: BTreeMap<String, (BTreeMap<String, i64>, Option<Timestamp>)>,
}

impl MapStore {
    fn lock(&self) -> Result<MutexGuard<'_, Map>, StoreError> {
        match self.fails.load(Ordering::SeqCst) {
            true => Err(StorageError::Io("deliberate, in a test".into()).into()),
            false => Ok(self.map.lock().unwrap()),
        }
    }

    fn write(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        wanted: Option<Option<u64>>,
    ) -> Result<Put, StoreError> {
        check_value(&value)?;
        let mut map = self.lock()?;
        let found = map.values.get(key.as_str()).filter(|(_, expires)| lives(*expires, now));
        let version = found.map(|(entry, _)| entry.version);
        if wanted.is_some_and(|wanted| wanted != version) {
            return Ok(Put::Conflict(version));
        }
        let version = version.unwrap_or(0) + 1;
        map.values.insert(key.to_string(), (Entry { value, version }, expiry(now, key)));
        Ok(Put::Written(version))
    }
}

fn lives(expires: Option<Timestamp>, now: Timestamp) -> bool {
    expires.is_none_or(|expires| expires > now)
}

fn expiry(now: Timestamp, key: &Key) -> Option<Timestamp> {
    match key.lifetime() {
        Lifetime::For(time) => Some(now.plus(time)),
        Lifetime::Forever { .. } => None,
    }
}

#[async_trait]
impl Store for MapStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        let map = self.lock()?;
        let found = map.values.get(key.as_str()).filter(|(_, expires)| lives(*expires, now));
        Ok(found.map(|(entry, _)| entry.clone()))
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        match self.write(now, key, value, None)? {
            Put::Written(version) => Ok(version),
            Put::Conflict(_) => unreachable!("no condition"),
        }
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        self.write(now, key, value, Some(version))
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        let mut map = self.lock()?;
        let value = map.values.remove(key.as_str()).is_some_and(|(_, expires)| lives(expires, now));
        let counters = map.counters.remove(key.as_str()).is_some_and(|(_, expires)| lives(expires, now));
        Ok(value || counters)
    }

    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        check_field(field)?;
        let mut map = self.lock()?;
        let (fields, expires) = map.counters.entry(key.to_string()).or_default();
        if !lives(*expires, now) {
            fields.clear();
        }
        *expires = expiry(now, key);
        let counter = fields.entry(field.to_owned()).or_default();
        *counter = counter.saturating_add(delta);
        Ok(*counter)
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        let map = self.lock()?;
        let found = map.counters.get(key.as_str()).filter(|(_, expires)| lives(*expires, now));
        Ok(found.map(|(fields, _)| fields.clone().into_iter().collect()).unwrap_or_default())
    }

    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let map = self.lock()?;
        let values = map.values.iter().map(|(key, (_, expires))| (key.clone(), *expires));
        let counters = map.counters.iter().map(|(key, (_, expires))| (key.clone(), *expires));
        let living = values.chain(counters).filter(|(_, expires)| lives(*expires, now));
        let found: BTreeMap<_, _> = living
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .collect();
        Ok(found.into_iter().take(limit).map(|(key, expires)| Found { key, expires }).collect())
    }

    async fn collect(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}

#[tokio::test]
async fn the_store_of_these_tests_keeps_the_contract() {
    crate::store::contract::check(Arc::new(MapStore::default())).await;
}
