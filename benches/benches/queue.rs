//! What one job costs from enqueue to ack, and what a worker's turn costs: in memory, in a file
//! that is synced, in Redis, and in Redis that syncs its file.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, JobKind, NewJob, Queue, QueueConfig, RedisQueue},
    redis::{Redis, RedisConfig},
    testing::RedisServer,
    time::{Clock, SystemClock},
};

const PAYLOAD: usize = 500;

async fn job(queue: &dyn Queue) {
    let job = NewJob::new(JobKind::from_static("bench"), vec![b'x'; PAYLOAD]);
    queue.enqueue(SystemClock.now(), job).await.unwrap();
    let lease = queue.lease(SystemClock.now(), &[], Duration::from_secs(60)).await.unwrap().unwrap();
    queue.ack(SystemClock.now(), black_box(lease)).await.unwrap();
}

/// What a worker asks of the queue for one job: what is due, a lease, an ack.
async fn turn(queue: &dyn Queue) {
    queue.tick(SystemClock.now()).await.unwrap();
    black_box(queue.next_due(SystemClock.now()).await.unwrap());
    let lease = queue.lease(SystemClock.now(), &[], Duration::from_secs(60)).await.unwrap().unwrap();
    queue.ack(SystemClock.now(), black_box(lease)).await.unwrap();
}

fn one_job(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (fast, durable) = (tempfile::tempdir_in(&folder).unwrap(), tempfile::tempdir_in(&folder).unwrap());
    let servers =
        [RedisServer::start(fast.path(), &[]), RedisServer::start(durable.path(), &RedisServer::DURABLE)];
    let in_redis = |server: &RedisServer| {
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        Arc::new(RedisQueue::new(redis, "bench", QueueConfig::default()).unwrap()) as Arc<dyn Queue>
    };
    let in_file = |file| Arc::new(EmbeddedQueue::new(file, QueueConfig::default())) as Arc<dyn Queue>;
    let queues = [
        ("memory", in_file(Embedded::in_memory(EmbeddedConfig::default()).unwrap())),
        ("file", in_file(Embedded::open(folder.path().join("q.redb"), EmbeddedConfig::default()).unwrap())),
        ("redis", in_redis(&servers[0])),
        ("redis, synced", in_redis(&servers[1])),
    ];
    let mut group = c.benchmark_group("enqueue, lease, ack");
    group.throughput(Throughput::Elements(1));
    for (name, queue) in &queues {
        group.bench_function(*name, |b| b.iter(|| runtime.block_on(job(&**queue))));
    }
    group.finish();
    let mut group = c.benchmark_group("a worker's turn");
    for (name, queue) in &queues {
        group.bench_function(*name, |b| {
            b.iter_custom(|turns| {
                let mut spent = Duration::ZERO;
                for _ in 0..turns {
                    let job = NewJob::new(JobKind::from_static("bench"), vec![b'x'; PAYLOAD]);
                    runtime.block_on(queue.enqueue(SystemClock.now(), job)).unwrap();
                    let began = Instant::now();
                    runtime.block_on(turn(&**queue));
                    spent += began.elapsed();
                }
                spent
            });
        });
    }
    group.finish();
}

criterion_group!(benches, one_job);
criterion_main!(benches);
