//! A queue and a store that outlive their users, and that virtual time waits for.
//!
//! The embedded file writes on a thread of its own. A paused clock that sees nothing else to do
//! runs on to the next timer meanwhile; a blocking task keeps it from that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use livos_core::{
    bell::News,
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, EmbeddedQueue, Enqueued, Intake, JobId,
        JobKind, Lease, LeaseError, Nack, NewJob, Queue, QueueConfig, QueueError, Repeat, Schedule, Work,
    },
    store::{EmbeddedStore, Entry, Found, Key, Put, Store, StoreError},
    time::Timestamp,
};

/// What outlives a process.
#[derive(Clone)]
pub struct Disk {
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    /// Cuts off every caller once it has burned down.
    pub fuse: Fuse,
}

/// Burns down by two with each thing that is asked: before it is done, and after. Once it is gone
/// nothing goes on, as in a process that was killed there.
#[derive(Clone)]
pub struct Fuse(Arc<AtomicU32>);

impl Fuse {
    /// So many steps from now on.
    pub fn set(&self, steps: u32) {
        self.0.store(steps, Ordering::SeqCst);
    }

    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }

    pub async fn step(&self) {
        let burnt = self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if burnt.is_err() || burnt == Ok(1) {
            std::future::pending::<()>().await;
        }
    }
}

impl Disk {
    pub fn new() -> Self {
        Self::of(Embedded::in_memory(EmbeddedConfig::default()).unwrap())
    }

    pub fn of(file: Embedded) -> Self {
        let fuse = Fuse(Arc::new(AtomicU32::new(u32::MAX)));
        Self {
            queue: Arc::new(Held(EmbeddedQueue::new(file.clone(), QueueConfig::default()), fuse.clone())),
            store: Arc::new(Held(EmbeddedStore::new(file), fuse.clone())),
            fuse,
        }
    }
}

/// Holds the paused clock while it is asked, and burns the fuse.
struct Held<T>(T, Fuse);

async fn hold<T>(fuse: &Fuse, work: impl Future<Output = T> + Send) -> T {
    fuse.step().await;
    let (done, wait) = std::sync::mpsc::channel::<()>();
    // Ends when `done` is dropped, also where this future is.
    let held = tokio::task::spawn_blocking(move || wait.recv());
    let answer = work.await;
    drop((done, held));
    fuse.step().await;
    answer
}

#[async_trait]
impl Intake for Held<EmbeddedQueue> {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        hold(&self.1, self.0.enqueue(now, job)).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        hold(&self.1, self.0.advance(now, advance)).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        hold(&self.1, self.0.cursor(name)).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        hold(&self.1, self.0.depth()).await
    }
}

#[async_trait]
impl Work for Held<EmbeddedQueue> {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        hold(&self.1, self.0.lease(now, kinds, visibility)).await
    }

    async fn extend(&self, now: Timestamp, lease: Lease, by: Duration) -> Result<Lease, LeaseError> {
        hold(&self.1, self.0.extend(now, lease, by)).await
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        hold(&self.1, self.0.ack(now, lease)).await
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        hold(&self.1, self.0.nack(now, lease, how)).await
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        hold(&self.1, self.0.tick(now)).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        hold(&self.1, self.0.next_due(now)).await
    }

    fn listen(&self) -> News {
        self.0.listen()
    }
}

#[async_trait]
impl DeadLetters for Held<EmbeddedQueue> {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        hold(&self.1, self.0.dead(after, limit)).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        hold(&self.1, self.0.replay(now, id)).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        hold(&self.1, self.0.discard(id)).await
    }
}

#[async_trait]
impl Schedule for Held<EmbeddedQueue> {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        hold(&self.1, self.0.repeat(now, repeat)).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        hold(&self.1, self.0.unrepeat(name)).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        hold(&self.1, self.0.repeats()).await
    }
}

#[async_trait]
impl Store for Held<EmbeddedStore> {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        hold(&self.1, self.0.get(now, key)).await
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        hold(&self.1, self.0.put(now, key, value)).await
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        hold(&self.1, self.0.put_if(now, key, value, version)).await
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        hold(&self.1, self.0.remove(now, key)).await
    }

    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        hold(&self.1, self.0.add(now, key, field, delta)).await
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        hold(&self.1, self.0.counters(now, key)).await
    }

    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        hold(&self.1, self.0.scan(now, prefix, after, limit)).await
    }

    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        hold(&self.1, self.0.collect(now, limit)).await
    }
}
