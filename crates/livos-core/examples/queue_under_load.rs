//! Enqueues and does jobs as fast as it can, and writes down what it was promised: what is killed
//! at any instant has lost nothing.
//!
//! `cargo run -p livos-core --example queue_under_load -- FILE FIRST SECONDS` works until it is
//! killed; with the feature `redis`, `FILE` may be the address of a server, and a further `work`
//! leaves the enqueueing to others. Each line of its output is a fact: `enqueued N`, `duplicate N`,
//! `leased N ATTEMPT`, `acking N`, `acked N`, `lost N`. `FIRST` is its first new job, and the ten
//! before it are enqueued again first; `SECONDS` are added to its clock, so that the leases of a
//! process that was killed are over. The job `poison` kills the process. The tests that kill
//! processes read this output.

#![allow(clippy::print_stdout)] // What it prints is what it is for.

use std::{error::Error, sync::Arc, time::Duration};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Enqueued, JobKind, LeaseError, NewJob, Queue, QueueConfig},
    time::{Clock, SystemClock, Timestamp},
};

const VISIBILITY: Duration = Duration::from_secs(20);
const REMEMBERED: Duration = Duration::from_secs(7 * 24 * 3600);

#[derive(Clone)]
struct Load {
    queue: Arc<dyn Queue>,
    kind: JobKind,
    ahead: Duration,
}

impl Load {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.ahead)
    }

    async fn produce(self, first: u64, step: usize) -> Result<(), Box<dyn Error + Send + Sync>> {
        for n in (first.saturating_sub(10)..).step_by(step) {
            let job = NewJob::new(self.kind.clone(), n.to_string()).deduped_by(n.to_string(), REMEMBERED);
            loop {
                match self.queue.enqueue(self.now(), job.clone()).await? {
                    Enqueued::Enqueued(_) | Enqueued::Spilled => println!("enqueued {n}"),
                    Enqueued::Duplicate(_) => println!("duplicate {n}"),
                    Enqueued::Full { .. } => {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        continue;
                    }
                }
                break;
            }
        }
        Ok(())
    }

    async fn work(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut news = self.queue.listen();
        loop {
            let Some(lease) = self.queue.lease(self.now(), &[], VISIBILITY).await? else {
                news.wait(Duration::from_millis(5)).await;
                continue;
            };
            let n = String::from_utf8_lossy(&lease.payload).into_owned();
            println!("leased {n} {}", lease.attempt);
            if n == "poison" {
                std::process::abort();
            }
            println!("acking {n}");
            match self.queue.ack(self.now(), lease).await {
                Ok(()) => println!("acked {n}"),
                Err(LeaseError::Lost) => println!("lost {n}"),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (place, first, seconds, only_work) = match &arguments[..] {
        [place, first, seconds] => (place, first, seconds, false),
        [place, first, seconds, work] if work == "work" => (place, first, seconds, true),
        _ => return Err("usage: queue_under_load FILE FIRST SECONDS [work]".into()),
    };
    let load =
        Load { queue: queue(place)?, kind: "load".try_into()?, ahead: Duration::from_secs(seconds.parse()?) };
    if only_work {
        return tokio::try_join!(load.clone().work(), load.work()).map(|_| ());
    }
    let first: u64 = first.parse()?;
    let (even, odd) = (load.clone().produce(first, 2), load.clone().produce(first + 1, 2));
    tokio::try_join!(even, odd, load.clone().work(), load.work())?;
    Ok(())
}

fn queue(place: &str) -> Result<Arc<dyn Queue>, Box<dyn Error + Send + Sync>> {
    #[cfg(feature = "redis")]
    if place.starts_with("redis://") {
        use livos_core::{
            queue::RedisQueue,
            redis::{Redis, RedisConfig},
            secret::Secret,
        };
        let redis = Redis::new(RedisConfig::new(Secret::new(place)))?;
        return Ok(Arc::new(RedisQueue::new(redis, "load", QueueConfig::default())?));
    }
    let file = Embedded::open(place, EmbeddedConfig::default())?;
    Ok(Arc::new(EmbeddedQueue::new(file, QueueConfig::default())))
}
