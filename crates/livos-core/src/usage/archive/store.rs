//! The archive in the store: a value for each user and month.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use super::{ArchiveError, UsageArchive, bounded};
use crate::{
    store::{Family, Key, Lifetime, Put, Store},
    time::{Clock, SystemClock, UtcDay},
    usage::{DayUsage, Tally, counters::key},
    user::UserId,
};

/// `{user}/{year}-{month}`: the days of the month.
pub(crate) const ARCHIVE: Family = Family::new(
    "usage",
    "archive",
    Lifetime::Forever { reason: "it is the record of what was spent" },
    "what a user used on each day of a month",
);

/// How often a month is tried again when another process was faster.
const ATTEMPTS: usize = 16;

/// By date.
type Month = BTreeMap<String, Tally>;

/// An archive in any [`Store`]; in the embedded file by default. A month of one user is one value
/// of some kilobytes.
#[derive(Clone)]
pub struct StoreArchive {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl StoreArchive {
    /// In this store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, clock: Arc::new(SystemClock) }
    }

    async fn read(&self, key: &Key) -> Result<(Month, Option<u64>), ArchiveError> {
        let Some(entry) = self.store.get(self.clock.now(), key).await? else {
            return Ok((Month::new(), None));
        };
        let month = serde_json::from_slice(&entry.value).map_err(|_| unreadable(key))?;
        Ok((month, Some(entry.version)))
    }

    async fn keep_month(&self, key: &Key, days: &Month) -> Result<(), ArchiveError> {
        for _ in 0..ATTEMPTS {
            let (before, version) = self.read(key).await?;
            let mut after = before.clone();
            for (date, tally) in days {
                let kept = after.entry(date.clone()).or_default();
                *kept = kept.max(tally);
            }
            if after == before {
                return Ok(());
            }
            let text = serde_json::to_vec(&after).map_err(|_| unreadable(key))?;
            if let Put::Written(_) =
                self.store.put_if(self.clock.now(), key, Bytes::from(text), version).await?
            {
                return Ok(());
            }
        }
        Err(ArchiveError::Contended)
    }
}

#[async_trait]
impl UsageArchive for StoreArchive {
    async fn keep(&self, days: &[DayUsage]) -> Result<(), ArchiveError> {
        let mut months = BTreeMap::<(&UserId, String), Month>::new();
        for DayUsage { user, day, tally } in days {
            let month = months.entry((user, month_of(*day))).or_default();
            let kept = month.entry(day.to_string()).or_default();
            *kept = kept.max(tally);
        }
        for ((user, month), days) in &months {
            self.keep_month(&month_key(user, month), days).await?;
        }
        Ok(())
    }

    async fn days(&self, user: &UserId, first: UtcDay, last: UtcDay) -> Result<Vec<DayUsage>, ArchiveError> {
        let (mut day, mut found) = (bounded(first, last), Vec::new());
        while day <= last {
            let month = month_of(day);
            let (days, _) = self.read(&month_key(user, &month)).await?;
            let days =
                days.into_iter().filter_map(|(date, tally)| Some((date.parse::<UtcDay>().ok()?, tally)));
            let wanted = days.filter(|(kept, _)| *kept >= day && *kept <= last);
            found.extend(wanted.map(|(day, tally)| DayUsage { user: user.clone(), day, tally }));
            while month_of(day) == month {
                day = day.next();
            }
        }
        Ok(found)
    }
}

/// As in 2026-11.
fn month_of(day: UtcDay) -> String {
    let mut date = day.to_string();
    date.truncate(date.len().saturating_sub("-01".len()));
    date
}

fn month_key(user: &UserId, month: &str) -> Key {
    key(ARCHIVE.key(&format!("{user}/{month}")))
}

fn unreadable(key: &Key) -> ArchiveError {
    ArchiveError::Unreadable { key: key.to_string() }
}

impl std::fmt::Debug for StoreArchive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreArchive").finish_non_exhaustive()
    }
}
