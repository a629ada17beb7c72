//! The store in the embedded file.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Entry, Found, Key, Lifetime, Put, Store, StoreError, check_field, check_value};
use crate::{
    embedded::{Embedded, Read, StorageError, Table, Tables, indexed, number, prefix_end},
    time::Timestamp,
};

/// Key: version, expiry, value. A key with a 0 at its end has counters and an empty value.
const ENTRIES: Table = Table::new("entries");
/// Key, 0, field: number.
const COUNTERS: Table = Table::new("counters");
/// Expiry, key of `ENTRIES`: nothing.
const EXPIRIES: Table = Table::new("expiries");

/// A [`Store`] over an [`Embedded`] file.
#[derive(Debug, Clone)]
pub struct EmbeddedStore {
    file: Embedded,
    most: u64,
}

/// The expiry of values that live forever.
const NEVER: u64 = u64::MAX;
/// Bytes before the value: its version and its expiry.
const HEAD: usize = 16;

impl EmbeddedStore {
    /// The default bound on the number of keys. A million: some hundred megabytes.
    pub const DEFAULT_MOST: u64 = 1_000_000;

    /// The store in this file.
    pub fn new(file: Embedded) -> Self {
        Self { file, most: Self::DEFAULT_MOST }
    }

    /// The same store with another bound on the number of keys.
    #[must_use]
    pub fn with_most(mut self, most: u64) -> Self {
        self.most = most;
        self
    }
}

fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.unix_ms()).unwrap_or(0)
}

fn expiry(now: Timestamp, key: &Key) -> u64 {
    match key.lifetime() {
        Lifetime::For(time) => milliseconds(now.plus(time)).min(NEVER - 1),
        Lifetime::Forever { .. } => NEVER,
    }
}

fn row(version: u64, expires: u64, value: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD + value.len());
    row.extend_from_slice(&version.to_be_bytes());
    row.extend_from_slice(&expires.to_be_bytes());
    row.extend_from_slice(value);
    row
}

fn expiry_of(row: &[u8]) -> u64 {
    number(row.get(8..).unwrap_or_default())
}

/// Version and expiry of a row, if it lives.
fn living(row: &[u8], now: Timestamp) -> Option<(u64, u64)> {
    let (version, expires) = (number(row), expiry_of(row));
    (expires > milliseconds(now)).then_some((version, expires))
}

/// The row of a key's counters: it has no value and holds their common expiry.
fn counters_row(key: &Key) -> Vec<u8> {
    [key.as_str().as_bytes(), &[0]].concat()
}

/// Removes a key of `ENTRIES`, its index, and its counters.
fn clear(tables: &mut Tables<'_>, key: &[u8]) -> Result<bool, StorageError> {
    let Some(expires) = tables.view(ENTRIES, key, expiry_of)? else { return Ok(false) };
    tables.remove(ENTRIES, key)?;
    tables.remove(EXPIRIES, &indexed(expires, key))?;
    if key.last() == Some(&0) {
        let end = prefix_end(key);
        let fields = tables.rows(COUNTERS, key, end.as_deref(), usize::MAX)?;
        for (field, _) in fields {
            tables.remove(COUNTERS, &field)?;
        }
    }
    Ok(true)
}

/// Writes a row, with its index.
fn set(
    tables: &mut Tables<'_>,
    key: &[u8],
    (version, expires): (u64, u64),
    value: &[u8],
) -> Result<(), StorageError> {
    let before = tables.view(ENTRIES, key, expiry_of)?;
    tables.put(ENTRIES, key, &row(version, expires, value))?;
    if before != Some(expires) {
        if let Some(before) = before.filter(|before| *before != NEVER) {
            tables.remove(EXPIRIES, &indexed(before, key))?;
        }
        if expires != NEVER {
            tables.put(EXPIRIES, &indexed(expires, key), &[])?;
        }
    }
    Ok(())
}

/// Frees up to `limit` expired keys.
fn collect(tables: &mut Tables<'_>, now: Timestamp, limit: usize) -> Result<usize, StorageError> {
    let end = (milliseconds(now) + 1).to_be_bytes();
    let expired = tables.rows(EXPIRIES, &[], Some(&end), limit)?;
    for (index, _) in &expired {
        clear(tables, index.get(8..).unwrap_or_default())?;
        tables.remove(EXPIRIES, index)?;
    }
    Ok(expired.len())
}

impl EmbeddedStore {
    /// Writes a value if `condition` holds for the living version.
    async fn write(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        condition: Option<Option<u64>>,
    ) -> Result<Put, StoreError> {
        check_value(&value)?;
        let (most, expires) = (self.most, expiry(now, key));
        let key = key.as_str().as_bytes().to_vec();
        let written = self.file.write(move |tables| {
            let stored = tables.view(ENTRIES, &key, |row| living(row, now))?;
            let lives = stored.flatten().map(|(version, _)| version);
            if condition.is_some_and(|wanted| wanted != lives) {
                return Ok(Ok(Put::Conflict(lives)));
            }
            if stored.is_none() && is_full(tables, now, most)? {
                return Ok(Err(StoreError::Full(most)));
            }
            let version = lives.unwrap_or(0) + 1;
            set(tables, &key, (version, expires), &value)?;
            Ok(Ok(Put::Written(version)))
        });
        written.await?
    }
}

/// Whether there is no room for another key, after expired keys were freed.
fn is_full(tables: &mut Tables<'_>, now: Timestamp, most: u64) -> Result<bool, StorageError> {
    const AT_ONCE: usize = 64;
    if tables.len(ENTRIES)? < most {
        return Ok(false);
    }
    collect(tables, now, AT_ONCE)?;
    Ok(tables.len(ENTRIES)? >= most)
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        let key = key.as_str().as_bytes().to_vec();
        let found = self.file.read(move |snapshot| {
            let row = snapshot.get(ENTRIES, &key)?;
            Ok(row.and_then(|row| {
                let (version, _) = living(&row, now)?;
                Some(Entry { value: Bytes::from(row).slice(HEAD..), version })
            }))
        });
        Ok(found.await?)
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        match self.write(now, key, value, None).await? {
            Put::Written(version) => Ok(version),
            Put::Conflict(found) => Ok(found.unwrap_or(0)),
        }
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        self.write(now, key, value, Some(version)).await
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        let keys = [key.as_str().as_bytes().to_vec(), counters_row(key)];
        let removed = self.file.write(move |tables| {
            let mut lived = false;
            for key in &keys {
                lived |= tables.view(ENTRIES, key, |row| living(row, now).is_some())?.unwrap_or(false);
                clear(tables, key)?;
            }
            Ok(lived)
        });
        Ok(removed.await?)
    }

    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        let after = self.add_all(now, key, &[(field.to_owned(), delta)]).await?;
        Ok(after.first().copied().unwrap_or_default())
    }

    async fn add_all(
        &self,
        now: Timestamp,
        key: &Key,
        deltas: &[(String, i64)],
    ) -> Result<Vec<i64>, StoreError> {
        deltas.iter().try_for_each(|(field, _)| check_field(field))?;
        let (head, expires, most) = (counters_row(key), expiry(now, key), self.most);
        let deltas = deltas.to_vec();
        let added = self.file.write(move |tables| {
            let stored = tables.view(ENTRIES, &head, |row| living(row, now).is_some())?;
            if stored == Some(false) {
                clear(tables, &head)?;
            } else if stored.is_none() && is_full(tables, now, most)? {
                return Ok(Err(StoreError::Full(most)));
            }
            set(tables, &head, (1, expires), &[])?;
            let mut values = Vec::with_capacity(deltas.len());
            for (field, delta) in &deltas {
                let counter = [head.as_slice(), field.as_bytes()].concat();
                let before = tables.view(COUNTERS, &counter, number)?.unwrap_or(0).cast_signed();
                let after = before.saturating_add(*delta);
                tables.put(COUNTERS, &counter, &after.to_be_bytes())?;
                values.push(after);
            }
            Ok(Ok(values))
        });
        added.await?
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        let head = counters_row(key);
        let found = self.file.read(move |snapshot| {
            let lives = snapshot.view(ENTRIES, &head, |row| living(row, now).is_some())?;
            if lives != Some(true) {
                return Ok(Vec::new());
            }
            let end = prefix_end(&head);
            let fields = snapshot.rows(COUNTERS, &head, end.as_deref(), usize::MAX)?;
            let named = fields.into_iter().map(|(key, value)| {
                let field = String::from_utf8_lossy(key.get(head.len()..).unwrap_or_default()).into_owned();
                (field, number(&value).cast_signed())
            });
            Ok(named.collect())
        });
        Ok(found.await?)
    }

    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let end = prefix_end(prefix.as_bytes());
        let from = match after {
            // The counters of a key come right after it, and after them its next neighbour.
            Some(after) if after >= prefix => [after.as_bytes(), &[1]].concat(),
            _ => prefix.as_bytes().to_vec(),
        };
        let found = self.file.read(move |snapshot| {
            let mut found: Vec<Found> = Vec::new();
            snapshot.walk(ENTRIES, &from, end.as_deref(), |key, value| {
                let Some((_, expires)) = living(value, now) else { return true };
                let key = String::from_utf8_lossy(key).trim_end_matches('\0').to_owned();
                let expires = (expires != NEVER)
                    .then(|| Timestamp::from_unix_ms(i64::try_from(expires).unwrap_or(i64::MAX)));
                let full = found.len() == limit;
                match found.last_mut().filter(|last| last.key == key) {
                    Some(last) => last.expires = last.expires.zip(expires).map(|(one, other)| one.max(other)),
                    None if full => return false,
                    None => found.push(Found { key, expires }),
                }
                true
            })?;
            Ok(found)
        });
        Ok(found.await?)
    }

    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        Ok(self.file.write(move |tables| collect(tables, now, limit)).await?)
    }
}
