//! The store in a Redis that may be away: the family of a key says how its reads and writes behave
//! then (P-20).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;

use super::{AwayReads, AwayWrites, Entry, Found, Key, Lifetime, Put, RedisStore, Store, StoreError};
use crate::{
    redis::{Gate, OfRedis, RedisError},
    time::Timestamp,
};

/// A [`RedisStore`] behind a [`Gate`].
///
/// A [`Store::put_if`] is never dropped, whatever its family says. A write that is retried because
/// its answer was lost may be made twice: a [`Store::put_if`] may then find its own version and
/// answer a conflict, and an [`Store::add`] may count twice.
#[derive(Debug)]
pub struct GuardedStore {
    store: RedisStore,
    gate: Gate,
    known: Mutex<Known>,
}

impl GuardedStore {
    /// The store in the server behind this gate.
    pub fn new(gate: Gate) -> Self {
        Self { store: RedisStore::new(gate.redis().clone()), gate, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers the value of a key, if its family asks for that.
    fn note(&self, now: Timestamp, key: &Key, note: impl FnOnce(&mut Seen)) {
        if let AwayReads::LastKnown(bound) = key.away().reads {
            let bound = match key.lifetime() {
                Lifetime::For(time) => bound.min(time),
                Lifetime::Forever { .. } => bound,
            };
            self.known().note(now, bound, key.as_str(), note);
        }
    }

    /// A read: the server's answer, or what the family says if there is none.
    async fn read<T>(
        &self,
        now: Timestamp,
        key: &Key,
        call: impl Future<Output = Result<T, StoreError>>,
        last: impl FnOnce(&Seen) -> Option<T>,
        nothing: T,
    ) -> Result<T, StoreError> {
        let error = match self.gate.through(call).await {
            Err(error) if is_outage(&error) => error,
            answered => return answered,
        };
        let (fallback, kind) = match key.away().reads {
            AwayReads::Fail => return Err(error),
            AwayReads::LastKnown(_) => (self.known().last(now, key.as_str()).and_then(last), "last_known"),
            AwayReads::Nothing => (Some(nothing), "nothing"),
        };
        let value = fallback.ok_or(error)?;
        metrics::counter!("livos_store_fallback_reads_total", "answer" => kind).increment(1);
        Ok(value)
    }

    /// A write: made, retried, or dropped, which answers `dropped`.
    async fn write<T, F>(&self, key: &Key, mut call: impl FnMut() -> F, dropped: T) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        match key.away().writes {
            AwayWrites::Insist => self.gate.critical(call).await,
            AwayWrites::Drop => match self.gate.through(call()).await {
                Err(error) if error.redis().is_some_and(RedisError::is_temporary) => {
                    metrics::counter!("livos_store_dropped_writes_total").increment(1);
                    tracing::debug!(%error, %key, "a write was dropped");
                    Ok(dropped)
                }
                answered => answered,
            },
        }
    }
}

fn is_outage(error: &StoreError) -> bool {
    error.redis().is_some_and(RedisError::is_outage)
}

#[async_trait]
impl Store for GuardedStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        let call = async {
            let entry = self.store.get(now, key).await?;
            self.note(now, key, |seen| seen.entry = Some(entry.clone()));
            Ok(entry)
        };
        self.read(now, key, call, |seen| seen.entry.clone(), None).await
    }

    /// Answers version 0 if the write was dropped.
    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        let version = self.write(key, || self.store.put(now, key, value.clone()), 0).await?;
        if version > 0 {
            self.note(now, key, |seen| seen.entry = Some(Some(Entry { value, version })));
        }
        Ok(version)
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let put = self.gate.critical(|| self.store.put_if(now, key, value.clone(), version)).await?;
        self.note(now, key, |seen| {
            seen.entry = match put {
                Put::Written(version) => Some(Some(Entry { value, version })),
                Put::Conflict(_) => None,
            };
        });
        Ok(put)
    }

    /// Answers false if the write was dropped.
    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        let removed = self.write(key, || self.store.remove(now, key), false).await?;
        self.note(now, key, |seen| *seen = Seen::default());
        Ok(removed)
    }

    /// Answers `delta` if the write was dropped, as though the counter had been absent.
    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        let after = self.write(key, || self.store.add(now, key, field, delta), delta).await?;
        self.note(now, key, |seen| {
            if let Some(counters) = &mut seen.counters {
                counters.retain(|(known, _)| known != field);
                counters.push((field.to_owned(), after));
                counters.sort();
            }
        });
        Ok(after)
    }

    /// Like [`Store::add`] if the writes were dropped.
    async fn add_all(
        &self,
        now: Timestamp,
        key: &Key,
        deltas: &[(String, i64)],
    ) -> Result<Vec<i64>, StoreError> {
        let dropped = deltas.iter().map(|(_, delta)| *delta).collect();
        let after = self.write(key, || self.store.add_all(now, key, deltas), dropped).await?;
        // What was known of them is of before.
        self.note(now, key, |seen| seen.counters = None);
        Ok(after)
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        let call = async {
            let counters = self.store.counters(now, key).await?;
            self.note(now, key, |seen| seen.counters = Some(counters.clone()));
            Ok(counters)
        };
        self.read(now, key, call, |seen| seen.counters.clone(), Vec::new()).await
    }

    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.gate.through(self.store.scan(now, prefix, after, limit)).await
    }

    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.gate.through(self.store.collect(now, limit)).await
    }
}

/// The last known values of the keys that this process used last. A full half is dropped at once.
#[derive(Debug, Default)]
struct Known {
    young: HashMap<String, Seen>,
    old: HashMap<String, Seen>,
}

/// What is known of one key; `None` for what was never read or written.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// It is too old to be used from then on.
    until: Timestamp,
    entry: Option<Option<Entry>>,
    counters: Option<Vec<(String, i64)>>,
}

impl Known {
    /// Keys of one half. 4096: some megabytes with small values, and more keys than a small server
    /// reads in a minute.
    const HALF: usize = 4096;

    fn note(&mut self, now: Timestamp, bound: Duration, key: &str, note: impl FnOnce(&mut Seen)) {
        let mut seen = self.young.remove(key).or_else(|| self.old.remove(key)).unwrap_or_default();
        if seen.until <= now {
            seen = Seen::default();
        }
        note(&mut seen);
        seen.until = now.plus(bound);
        if self.young.len() >= Self::HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.to_owned(), seen);
    }

    fn last(&self, now: Timestamp, key: &str) -> Option<&Seen> {
        self.young.get(key).or_else(|| self.old.get(key)).filter(|seen| seen.until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_forgotten_in_time_and_when_there_is_too_much() {
        let (start, minute) = (Timestamp::default(), Duration::from_secs(60));
        let mut known = Known::default();
        known.note(start, minute, "a", |seen| seen.counters = Some(vec![]));
        assert!(known.last(start.plus(minute / 2), "a").is_some());
        assert!(known.last(start.plus(minute), "a").is_none());
        for n in 0..3 * Known::HALF {
            known.note(start, minute, &n.to_string(), |_| {});
            known.note(start, minute, "often", |_| {});
        }
        assert!(known.young.len() + known.old.len() <= 2 * Known::HALF + 1);
        assert!(known.last(start, "often").is_some() && known.last(start, "0").is_none());
    }
}
