//! Durable jobs in one embedded file: what is enqueued survives the process, and is worked on at
//! least once, however often a process is killed.
//!
//! `cargo run -p queue-worker -- jobs.redb "water the plants" "call Anna"` enqueues two jobs, works
//! until Ctrl-C, and prints what it does. Kill it in the middle and start it again: it goes on. The
//! same text within an hour is the same job.

use std::{convert::Infallible, sync::Arc, time::Duration};

use livos_core::{
    drain::{Drain, Termination},
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        EmbeddedQueue, Enqueued, Job, JobKind, NewJob, Outcome, Queue, QueueConfig, Worker, WorkerConfig,
    },
    time::{Clock, SystemClock},
};
use tower::{BoxError, Service, service_fn};

/// Names what a worker does with a job. A queue holds jobs of many kinds.
const TASK: JobKind = JobKind::from_static("task");
/// How long the same text is the same job.
const SAME_JOB: Duration = Duration::from_secs(3600);

fn queue(file: &Embedded) -> Arc<dyn Queue> {
    Arc::new(EmbeddedQueue::new(file.clone(), QueueConfig::default()))
}

/// Enqueues a job; when this returns `true` it is on the disk. `false`: it was there already.
async fn enqueue(queue: &dyn Queue, text: &str) -> Result<bool, BoxError> {
    let job = NewJob::new(TASK, text.to_owned()).deduped_by(text, SAME_JOB);
    match queue.enqueue(SystemClock.now(), job).await? {
        Enqueued::Enqueued(_) => Ok(true),
        Enqueued::Duplicate(_) => Ok(false),
        other => Err(format!("the queue is full: {other:?}").into()),
    }
}

/// Works on one job. An attempt may come twice, so an effect should be idempotent by the job's id.
async fn work(job: Job) -> Result<Outcome, Infallible> {
    let Ok(text) = std::str::from_utf8(&job.payload) else {
        return Ok(Outcome::Dead { reason: "the payload is not text".into() });
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    print(&format!("{} (attempt {}): {text}", job.id, job.attempt));
    Ok(Outcome::Done)
}

/// A worker that finishes what it has begun when `drain` begins.
fn worker<S>(queue: Arc<dyn Queue>, service: S) -> Worker<S, SystemClock>
where
    S: Service<Job, Response = Outcome, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut config = WorkerConfig::default();
    config.kinds = vec![TASK];
    Worker::new(queue, service, SystemClock, config)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().ok_or("usage: queue-worker FILE [TEXT ..]")?;
    let queue = queue(&Embedded::open(file, EmbeddedConfig::default())?);
    for text in arguments {
        let news = if enqueue(&*queue, &text).await? { "enqueued" } else { "known" };
        print(&format!("{news}: {text}"));
    }
    let drain = Drain::new();
    let signal = drain.signal();
    let mut termination = Termination::listen()?;
    let working = tokio::spawn(worker(queue, service_fn(work)).run(signal));
    termination.next().await?;
    drain.begin();
    Ok(working.await?)
}

#[allow(clippy::print_stdout)] // What it prints is what it is for.
fn print(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_job_outlives_its_process_and_is_done_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jobs.redb");
        let open = || Embedded::open(&file, EmbeddedConfig::default()).unwrap();
        let first = open();
        let jobs = queue(&first);
        assert!(enqueue(&*jobs, "water the plants").await.unwrap());
        assert!(!enqueue(&*jobs, "water the plants").await.unwrap());
        assert!(enqueue(&*jobs, "call Anna").await.unwrap());
        first.close().await;

        let queue = queue(&open());
        let (done, mut seen) = tokio::sync::mpsc::unbounded_channel();
        let note = service_fn(move |job: Job| {
            let noted = done.send(String::from_utf8_lossy(&job.payload).into_owned());
            std::future::ready(Ok(match noted {
                Ok(()) => Outcome::Done,
                Err(error) => Outcome::Dead { reason: error.to_string() },
            }))
        });
        let drain = Drain::new();
        let signal = drain.signal();
        let working = tokio::spawn(worker(Arc::clone(&queue), note).run(signal));
        let mut jobs = [seen.recv().await.unwrap(), seen.recv().await.unwrap()];
        jobs.sort_unstable();
        assert_eq!(jobs, ["call Anna", "water the plants"]);
        drain.begin();
        working.await.unwrap();
        assert_eq!(queue.depth().await.unwrap().total(), 0);
        assert!(seen.recv().await.is_none());
    }
}
