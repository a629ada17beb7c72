//! A queue and a store that answer at once, so that virtual time stands still meanwhile, and fail
//! on demand.
//!
//! The embedded ones write in a thread of their own, which the paused clock does not wait for. They
//! have their own tests, and the crash test of the gateway.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use livos_core::{
    bell::{Bell, News},
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, Enqueued, Intake, JobId, JobKind, Lease,
        LeaseError, Nack, NewJob, QueueError, Repeat, Schedule, Work,
    },
    store::{Entry, Found, Key, Put, Store, StoreError},
    time::Timestamp,
};

const UNUSED: &str = "nothing of Discord's asks this";

#[derive(Default)]
pub(super) struct MemoryQueue {
    state: Mutex<State>,
    bell: Bell,
    /// Refuses every job.
    pub(super) full: AtomicBool,
    /// Calls since the start.
    pub(super) calls: AtomicU64,
}

#[derive(Default)]
struct State {
    jobs: Vec<NewJob>,
    keys: BTreeSet<String>,
    cursor: Option<Cursor>,
}

impl State {
    fn take(&mut self, job: &NewJob) -> Enqueued {
        let id = JobId(self.jobs.len() as u64);
        if job.dedupe.as_ref().is_some_and(|dedupe| !self.keys.insert(dedupe.key.clone())) {
            return Enqueued::Duplicate(id);
        }
        self.jobs.push(job.clone());
        Enqueued::Enqueued(id)
    }
}

impl MemoryQueue {
    pub(super) fn payloads(&self) -> Vec<Bytes> {
        self.state.lock().unwrap().jobs.iter().map(|job| job.payload.clone()).collect()
    }

    fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Intake for MemoryQueue {
    async fn enqueue(&self, _: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        job.check()?;
        if self.is_full() {
            return Ok(Enqueued::Full { depth: 500 });
        }
        Ok(self.state.lock().unwrap().take(&job))
    }

    async fn advance(&self, _: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        advance.check()?;
        self.calls.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap();
        if let Some(fence) =
            state.cursor.as_ref().map(|cursor| cursor.fence).filter(|fence| *fence > advance.fence)
        {
            return Ok(Advanced::Stale { fence });
        }
        let (mut steps, mut enqueued, mut duplicates) = (0, 0, 0);
        for step in advance.steps {
            if let Some(job) = &step.job {
                if self.is_full() {
                    break;
                }
                match state.take(job) {
                    Enqueued::Duplicate(_) => duplicates += 1,
                    _ => enqueued += 1,
                }
            }
            steps += 1;
            state.cursor = Some(Cursor { position: step.position, fence: advance.fence });
        }
        Ok(Advanced::Moved { steps, enqueued, duplicates })
    }

    async fn cursor(&self, _: &str) -> Result<Option<Cursor>, QueueError> {
        Ok(self.state.lock().unwrap().cursor.clone())
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        unreachable!("{UNUSED}")
    }
}

#[async_trait]
impl Work for MemoryQueue {
    async fn lease(&self, _: Timestamp, _: &[JobKind], _: Duration) -> Result<Option<Lease>, QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn extend(&self, _: Timestamp, _: Lease, _: Duration) -> Result<Lease, LeaseError> {
        unreachable!("{UNUSED}")
    }

    async fn ack(&self, _: Timestamp, _: Lease) -> Result<(), LeaseError> {
        unreachable!("{UNUSED}")
    }

    async fn nack(&self, _: Timestamp, _: Lease, _: Nack) -> Result<(), LeaseError> {
        unreachable!("{UNUSED}")
    }

    async fn tick(&self, _: Timestamp) -> Result<usize, QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn next_due(&self, _: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        unreachable!("{UNUSED}")
    }

    fn listen(&self) -> News {
        self.bell.listen()
    }
}

#[async_trait]
impl DeadLetters for MemoryQueue {
    async fn dead(&self, _: Option<JobId>, _: usize) -> Result<Vec<DeadLetter>, QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn replay(&self, _: Timestamp, _: JobId) -> Result<bool, QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn discard(&self, _: JobId) -> Result<bool, QueueError> {
        unreachable!("{UNUSED}")
    }
}

#[async_trait]
impl Schedule for MemoryQueue {
    async fn repeat(&self, _: Timestamp, _: Repeat) -> Result<(), QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn unrepeat(&self, _: &str) -> Result<bool, QueueError> {
        unreachable!("{UNUSED}")
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        unreachable!("{UNUSED}")
    }
}

#[derive(Default)]
pub(super) struct MemoryStore(Mutex<BTreeMap<String, Entry>>);

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, _: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        Ok(self.0.lock().unwrap().get(key.as_str()).cloned())
    }

    async fn put_if(
        &self,
        _: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let mut entries = self.0.lock().unwrap();
        let there = entries.get(key.as_str()).map(|entry| entry.version);
        if there != version {
            return Ok(Put::Conflict(there));
        }
        let version = version.unwrap_or(0) + 1;
        entries.insert(key.as_str().to_owned(), Entry { value, version });
        Ok(Put::Written(version))
    }

    async fn put(&self, _: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        let mut entries = self.0.lock().unwrap();
        let version = entries.get(key.as_str()).map_or(1, |entry| entry.version + 1);
        entries.insert(key.as_str().to_owned(), Entry { value, version });
        Ok(version)
    }

    async fn remove(&self, _: Timestamp, _: &Key) -> Result<bool, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn add(&self, _: Timestamp, _: &Key, _: &str, _: i64) -> Result<i64, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn counters(&self, _: Timestamp, _: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn scan(&self, _: Timestamp, _: &str, _: Option<&str>, _: usize) -> Result<Vec<Found>, StoreError> {
        unreachable!("{UNUSED}")
    }

    async fn collect(&self, _: Timestamp, _: usize) -> Result<usize, StoreError> {
        unreachable!("{UNUSED}")
    }
}
