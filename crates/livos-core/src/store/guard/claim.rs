//! Claiming, keeping and releasing, one call at a time.

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    store::{Family, InvalidKey, Key, Lifetime, Put, Store, StoreError},
    time::Timestamp,
};

pub(crate) const GUARDS: Family = Family::new(
    "guard",
    "holder",
    Lifetime::Forever { reason: "a fence that began again would let an old holder write" },
    "who polls or listens, where there may be only one",
);

/// How often a claim is retried when others write at the same time; each time, one of them
/// succeeded.
const TRIES: usize = 8;

/// The right to be the only process that does something. Cloning shares the store.
#[derive(Clone)]
pub struct Guard {
    store: Arc<dyn Store>,
    key: Key,
    holder: String,
    lifetime: Duration,
}

/// The answer of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is held for the guard's lifetime from now on.
    Held {
        /// Higher than that of every earlier holder.
        fence: u64,
    },
    /// Another holder has it.
    Taken {
        /// The name of that holder.
        holder: String,
        /// When its time is over, unless it keeps the guard.
        until: Timestamp,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    holder: String,
    fence: u64,
    since: Timestamp,
    until: Timestamp,
}

impl Record {
    /// A record from the far future was written before the clock was set back, and would keep
    /// everybody out for that long.
    fn is_over(&self, now: Timestamp, lifetime: Duration) -> bool {
        self.until <= now || self.since > now.plus(lifetime)
    }
}

impl Guard {
    /// The guard of this name, to be held as `holder` for `lifetime` at a time.
    ///
    /// Processes that run at the same time need different holder names. A process that is started
    /// again may use its old name: then it takes over from itself at once, while another one would
    /// have to wait.
    pub fn new(
        store: Arc<dyn Store>,
        name: &str,
        holder: impl Into<String>,
        lifetime: Duration,
    ) -> Result<Self, InvalidKey> {
        Ok(Self { store, key: GUARDS.key(name)?, holder: holder.into(), lifetime })
    }

    pub(super) fn key(&self) -> &Key {
        &self.key
    }

    /// How long a claim lasts.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// Takes the guard if it is free, with a fence higher than `above`: if the store was emptied,
    /// fences must not begin below those that were written elsewhere.
    pub async fn claim(&self, now: Timestamp, above: u64) -> Result<Claim, StoreError> {
        self.write(now, |record| match record {
            Some(record) if record.holder != self.holder && !record.is_over(now, self.lifetime) => None,
            Some(record) => Some(record.fence.max(above) + 1),
            None => Some(above + 1),
        })
        .await
    }

    /// Extends the claim. [`Claim::Taken`] if it was lost: the new holder may be working already.
    pub async fn keep(&self, now: Timestamp, fence: u64) -> Result<Claim, StoreError> {
        let ours = |record: &Record| record.fence == fence && record.holder == self.holder;
        self.write(now, |record| record.filter(|record| ours(record)).map(|_| fence)).await
    }

    /// Gives the guard up if it is still held, so that nobody waits for its expiry.
    pub async fn release(&self, now: Timestamp, fence: u64) -> Result<(), StoreError> {
        let Some((record, version)) = self.read(now).await? else { return Ok(()) };
        if record.fence == fence && record.holder == self.holder {
            self.put(now, &Record { until: now, ..record }, Some(version)).await?;
        }
        Ok(())
    }

    /// Writes the record with the fence that `decide` answers; `None` leaves it to its holder.
    async fn write(
        &self,
        now: Timestamp,
        decide: impl Fn(Option<&Record>) -> Option<u64>,
    ) -> Result<Claim, StoreError> {
        let mut taken = Claim::Taken { holder: "unknown".into(), until: now };
        for _ in 0..TRIES {
            let found = self.read(now).await?;
            let (record, version) = found.unzip();
            if let Some(record) = &record {
                taken = Claim::Taken { holder: record.holder.clone(), until: record.until };
            }
            let Some(fence) = decide(record.as_ref()) else { return Ok(taken) };
            let until = now.plus(self.lifetime);
            let record = Record { holder: self.holder.clone(), fence, since: now, until };
            if let Put::Written(_) = self.put(now, &record, version).await? {
                return Ok(Claim::Held { fence });
            }
        }
        Ok(taken)
    }

    /// A record that can't be read counts as expired; only its version is used.
    async fn read(&self, now: Timestamp) -> Result<Option<(Record, u64)>, StoreError> {
        let Some(entry) = self.store.get(now, &self.key).await? else { return Ok(None) };
        let unreadable = || Record { holder: String::new(), fence: 0, since: now, until: now };
        let record = serde_json::from_slice(&entry.value).unwrap_or_else(|_| unreadable());
        Ok(Some((record, entry.version)))
    }

    async fn put(&self, now: Timestamp, record: &Record, version: Option<u64>) -> Result<Put, StoreError> {
        let value = serde_json::to_vec(record).unwrap_or_default();
        self.store.put_if(now, &self.key, value.into(), version).await
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("key", &self.key).field("holder", &self.holder).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
    };

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).plus(Duration::from_secs(seconds))
    }

    fn guards<const N: usize>(holders: [&str; N]) -> [Guard; N] {
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        let store = Arc::new(EmbeddedStore::new(file));
        holders.map(|holder| {
            Guard::new(Arc::<EmbeddedStore>::clone(&store), "telegram/1", holder, MINUTE).unwrap()
        })
    }

    fn taken(holder: &str, until: u64) -> Claim {
        Claim::Taken { holder: holder.into(), until: at(until) }
    }

    #[tokio::test]
    async fn one_holds_it_until_its_time_is_over() {
        let [one, other] = guards(["one", "other"]);
        assert_eq!(one.claim(at(0), 0).await.unwrap(), Claim::Held { fence: 1 });
        assert_eq!(other.claim(at(59), 0).await.unwrap(), taken("one", 60));
        assert_eq!(one.keep(at(59), 1).await.unwrap(), Claim::Held { fence: 1 });
        assert_eq!(other.claim(at(118), 0).await.unwrap(), taken("one", 119));
        assert_eq!(other.claim(at(119), 0).await.unwrap(), Claim::Held { fence: 2 });
        assert_eq!(one.keep(at(119), 1).await.unwrap(), taken("other", 179), "it was taken over from");
        one.release(at(119), 1).await.unwrap();
        assert_eq!(
            one.claim(at(120), 0).await.unwrap(),
            taken("other", 179),
            "what is not held is not given up"
        );
        other.release(at(120), 2).await.unwrap();
        assert_eq!(one.claim(at(120), 0).await.unwrap(), Claim::Held { fence: 3 });
    }

    #[tokio::test]
    async fn a_holder_that_is_started_again_waits_for_nobody_and_shuts_itself_out() {
        let [before, after] = guards(["one", "one"]);
        assert_eq!(before.claim(at(0), 7).await.unwrap(), Claim::Held { fence: 8 });
        assert_eq!(after.claim(at(1), 0).await.unwrap(), Claim::Held { fence: 9 });
        assert_eq!(before.keep(at(2), 8).await.unwrap(), taken("one", 61));
    }

    #[tokio::test]
    async fn nobody_is_kept_out_by_a_clock_that_was_set_back() {
        let [one, other] = guards(["one", "other"]);
        one.claim(at(100_000), 0).await.unwrap();
        assert_eq!(other.claim(at(0), 0).await.unwrap(), Claim::Held { fence: 2 });
        // But a clock that is a little behind is no reason.
        assert_eq!(one.claim(at(0), 0).await.unwrap(), taken("other", 60));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_who_claim_at_one_time_one_holds_it() {
        let guards = guards(["a", "b", "c", "d", "e", "f", "g", "h"]);
        let claims = guards.map(|guard| tokio::spawn(async move { guard.claim(at(0), 0).await.unwrap() }));
        let mut held = 0;
        for claim in claims {
            held += usize::from(matches!(claim.await.unwrap(), Claim::Held { .. }));
        }
        assert_eq!(held, 1);
    }
}
