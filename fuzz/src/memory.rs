//! Values in memory, at once and in virtual time.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;
use bytes::Bytes;
use livos_core::{
    store::{Entry, Found, Key, Put, Store, StoreError},
    time::Timestamp,
};

/// A store of values for one input: nothing expires, and nothing is counted.
#[derive(Debug, Default)]
pub struct Memory(Mutex<HashMap<String, Entry>>);

impl Memory {
    fn values(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().expect("no panic while it is held")
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, _: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.values().get(key.as_str()).cloned())
    }

    async fn put(&self, _: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        let mut values = self.values();
        let version = values.get(key.as_str()).map_or(1, |entry| entry.version + 1);
        values.insert(key.to_string(), Entry { value, version });
        Ok(version)
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let found = self.values().get(key.as_str()).map(|entry| entry.version);
        if found != version {
            return Ok(Put::Conflict(found));
        }
        self.put(now, key, value).await.map(Put::Written)
    }

    async fn remove(&self, _: Timestamp, key: &Key) -> Result<bool, StoreError> {
        Ok(self.values().remove(key.as_str()).is_some())
    }

    async fn add(&self, _: Timestamp, _: &Key, _: &str, _: i64) -> Result<i64, StoreError> {
        unimplemented!("nothing is counted")
    }

    async fn counters(&self, _: Timestamp, _: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        unimplemented!("nothing is counted")
    }

    async fn scan(&self, _: Timestamp, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Found>, StoreError> {
        unimplemented!("nothing is looked for")
    }

    async fn collect(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }
}
