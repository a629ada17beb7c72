//! A queue and a store during whose work virtual time stands still: their file's thread works in
//! real time.

use std::{sync::Arc, sync::mpsc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use livos_core::{
    bell::News,
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, Enqueued, Intake, JobId, JobKind, Lease,
        LeaseError, Nack, NewJob, Queue, QueueError, Repeat, Schedule, Work,
    },
    store::{Entry, Found, Key, Put, Store, StoreError},
    time::Timestamp,
};

/// While a blocking task runs, the paused runtime does not move its clock by itself.
struct Hold(#[expect(dead_code, reason = "the task ends when it is dropped")] mpsc::Sender<()>);

fn hold() -> Hold {
    let (hold, held) = mpsc::channel();
    tokio::task::spawn_blocking(move || held.recv());
    Hold(hold)
}

pub struct SteadyStore(pub Arc<dyn Store>);

#[async_trait]
impl Store for SteadyStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        let _held = hold();
        self.0.get(now, key).await
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        let _held = hold();
        self.0.put(now, key, value).await
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let _held = hold();
        self.0.put_if(now, key, value, version).await
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        let _held = hold();
        self.0.remove(now, key).await
    }

    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        let _held = hold();
        self.0.add(now, key, field, delta).await
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        let _held = hold();
        self.0.counters(now, key).await
    }

    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let _held = hold();
        self.0.scan(now, prefix, after, limit).await
    }

    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        let _held = hold();
        self.0.collect(now, limit).await
    }
}

pub struct SteadyQueue(pub Arc<dyn Queue>);

#[async_trait]
impl Intake for SteadyQueue {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        let _held = hold();
        self.0.enqueue(now, job).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        let _held = hold();
        self.0.advance(now, advance).await
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        let _held = hold();
        self.0.cursor(name).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        let _held = hold();
        self.0.depth().await
    }
}

#[async_trait]
impl Work for SteadyQueue {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        let _held = hold();
        self.0.lease(now, kinds, visibility).await
    }

    async fn extend(&self, now: Timestamp, lease: Lease, by: Duration) -> Result<Lease, LeaseError> {
        let _held = hold();
        self.0.extend(now, lease, by).await
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        let _held = hold();
        self.0.ack(now, lease).await
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        let _held = hold();
        self.0.nack(now, lease, how).await
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        let _held = hold();
        self.0.tick(now).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        let _held = hold();
        self.0.next_due(now).await
    }

    fn listen(&self) -> News {
        self.0.listen()
    }
}

#[async_trait]
impl DeadLetters for SteadyQueue {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let _held = hold();
        self.0.dead(after, limit).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        let _held = hold();
        self.0.replay(now, id).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        let _held = hold();
        self.0.discard(id).await
    }
}

#[async_trait]
impl Schedule for SteadyQueue {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        let _held = hold();
        self.0.repeat(now, repeat).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        let _held = hold();
        self.0.unrepeat(name).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        let _held = hold();
        self.0.repeats().await
    }
}
