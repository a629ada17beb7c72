//! The backends against the contract, and against a simple model of it.

mod bounds;
mod model;

use std::sync::Arc;

use super::*;
use crate::embedded::{Embedded, EmbeddedConfig};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_in_memory_keeps_the_contract() {
    contract::check(|| async {
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        Arc::new(EmbeddedQueue::new(file, contract::config())) as Arc<dyn Queue>
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queue_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    contract::check(|| async {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let path = folder.path().join(format!("{number}.redb"));
        let file = Embedded::open(path, EmbeddedConfig::default()).unwrap();
        Arc::new(EmbeddedQueue::new(file, contract::config())) as Arc<dyn Queue>
    })
    .await;
}

/// Nobody else can have the file open, so the worker is dead: waiting for its lease would leave a
/// bounded kind standing still after each restart.
#[tokio::test]
async fn leases_of_a_dead_process_are_taken_over_when_the_file_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Embedded::open(folder.path().join("q.redb"), EmbeddedConfig::default()).unwrap();
    let (now, hour) = (contract::START, std::time::Duration::from_secs(3600));
    let narrow: JobKind = "narrow".try_into().unwrap();
    let file = open();
    let queue = EmbeddedQueue::new(file.clone(), contract::config());
    for (payload, attempts) in [("poison", 1), ("first", 10), ("second", 10)] {
        let job = NewJob::new(narrow.clone(), payload).with_max_attempts(attempts);
        queue.enqueue(now, job).await.unwrap();
    }
    let _killed_in_it = queue.lease(now, &[], hour).await.unwrap().unwrap();
    file.close().await;
    let queue = EmbeddedQueue::new(open(), contract::config());
    let first = queue.lease(now, &[], hour).await.unwrap().expect("the kind is free again");
    assert_eq!((first.payload.as_ref(), first.attempt), (b"first".as_slice(), 1));
    let dead = queue.dead(None, 10).await.unwrap();
    assert_eq!(dead[0].payload, "poison", "a job that kills its process on every start must not stay");
    // A lease of this opening is nobody else's, also for another queue over the same file.
    assert_eq!(queue.lease(now, &[], hour).await.unwrap(), None);
    assert_eq!(queue.clone().lease(now, &[], hour).await.unwrap(), None);
    queue.ack(now, first).await.unwrap();
    assert_eq!(queue.lease(now, &[], hour).await.unwrap().unwrap().payload, "second");
}

#[tokio::test]
async fn two_queues_over_one_file_hear_each_other() {
    let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
    let (one, other) = (
        EmbeddedQueue::new(file.clone(), QueueConfig::default()),
        EmbeddedQueue::new(file, QueueConfig::default()),
    );
    let mut news = other.listen();
    let job = NewJob::new("x".try_into().unwrap(), "x");
    one.enqueue(contract::START, job).await.unwrap();
    // It rang before anybody waited, and is heard all the same.
    news.wait(std::time::Duration::from_secs(3600)).await;
}

#[cfg(feature = "redis")]
mod in_redis {
    use super::*;
    use crate::{
        redis::{Redis, RedisConfig},
        testing::RedisServer,
    };

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_queue_in_redis_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &[]);
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        let number = std::sync::atomic::AtomicU32::new(0);
        contract::check(|| async {
            let name = format!("q{}", number.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
            Arc::new(RedisQueue::new(redis.clone(), &name, contract::config()).unwrap()) as Arc<dyn Queue>
        })
        .await;
    }
}
