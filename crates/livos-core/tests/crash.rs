//! A process under load is killed with SIGKILL at random instants, again and again: what it was
//! promised is kept.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.
#![allow(clippy::print_stdout)] // What was counted is shown with `--no-capture`.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Queue, QueueConfig},
    time::{Clock, SystemClock},
};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use self::matrix::matrix;

// Not `livos_core::testing`: these tests also run without the feature `test-util`.
#[path = "../src/testing/matrix.rs"]
mod matrix;

/// The whole matrix, of which [`matrix`] runs a part.
const KILLS: u64 = 300;
#[cfg(all(feature = "redis", feature = "test-util"))]
const KILLS_WITH_REDIS: u64 = 100;
/// Longer than a lease, so that the next process finds every lease over.
const STEP: u64 = 30;

/// What the processes said, in the order they said it.
#[derive(Default)]
struct Book {
    enqueued: BTreeSet<u64>,
    acking: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    attempts: BTreeSet<(u64, u64)>,
    duplicates: usize,
    killed_in_lease: usize,
    /// Several processes write at one time, so the order of their lines says nothing, and a clock
    /// that is ahead may end the lease of another.
    shared: bool,
}

impl Book {
    /// A line that the kill cut in half says nothing.
    fn note(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (Some(fact), Some(n)) = (words.next(), words.next().and_then(|n| n.parse().ok())) else { return };
        match fact {
            "enqueued" => assert!(self.enqueued.insert(n), "job {n} was enqueued twice"),
            "duplicate" => self.duplicates += 1,
            "acking" => {
                self.acking.insert(n);
            }
            "acked" => assert!(self.acked.insert(n), "job {n} was acked twice"),
            "leased" => {
                assert!(self.shared || !self.acked.contains(&n), "job {n} was leased after it was acked");
                let attempt = words.next().and_then(|attempt| attempt.parse().ok()).unwrap_or(0);
                assert!(self.attempts.insert((n, attempt)), "attempt {attempt} of job {n} was counted twice");
                self.killed_in_lease += usize::from(attempt > 1);
            }
            "lost" if self.shared => {}
            "lost" => panic!("nobody else worked on job {n}, and its lease was long"),
            other => panic!("{other}"),
        }
    }
}

fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/queue_under_load");
    assert!(program.exists(), "{} is built with the tests", program.display());
    program
}

/// Lets processes work, each for a while, and kills them. `place` is a file or an address.
fn work_and_be_killed(place: &OsStr, kills: u64) -> Book {
    let (mut book, mut random) = (Book::default(), SmallRng::seed_from_u64(11));
    for run in 0..kills {
        // From before the queue is open to the middle of the work.
        let after = Duration::from_micros(random.random_range(2_000..90_000));
        work_and_kill(place, run, after, &mut book);
    }
    book
}

/// Lets a process work for a while, and kills it.
fn work_and_kill(place: &OsStr, run: u64, after: Duration, book: &mut Book) {
    let first = book.enqueued.last().map_or(0, |last| last + 1);
    let mut child = Command::new(program())
        .arg(place)
        .args([first.to_string(), (run * STEP).to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    thread::scope(|scope| {
        let reader = scope.spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
        thread::sleep(after);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.code(), None, "it was killed, and did not end by itself: {status}");
        for line in reader.join().unwrap() {
            book.note(&String::from_utf8_lossy(&line));
        }
    });
}

/// Takes what is left out of the queue, and compares it with what was promised.
async fn settle(queue: &dyn Queue, book: &Book, kills: u64) {
    let now = SystemClock.now().plus(Duration::from_secs((kills + 1) * STEP));
    let mut left = BTreeSet::new();
    while let Some(lease) = queue.lease(now, &[], Duration::from_secs(60)).await.unwrap() {
        let n: u64 = std::str::from_utf8(&lease.payload).unwrap().parse().unwrap();
        assert!(left.insert(n), "job {n} is there twice");
    }
    let dead = queue.dead(None, 10).await.unwrap();
    assert_eq!(dead, [], "no job is given up because its workers were killed a few times");
    let kept = |n: &&u64| left.contains(n) || book.acked.contains(n) || book.acking.contains(n);
    let lost: Vec<_> = book.enqueued.iter().filter(|n| !kept(n)).collect();
    assert!(lost.is_empty(), "{lost:?} were acknowledged and are gone");
    let undead: Vec<_> = left.intersection(&book.acked).collect();
    assert!(undead.is_empty(), "{undead:?} were acked and are there again");
    println!(
        "{kills} kills: {} jobs enqueued, {} acked, {} left, {} duplicates refused, {} leases of killed workers taken over",
        book.enqueued.len(),
        book.acked.len(),
        left.len(),
        book.duplicates,
        book.killed_in_lease,
    );
    assert!(book.acked.len() > 100 && book.duplicates > 100 && book.killed_in_lease > 0);
}

#[tokio::test]
async fn no_kill_loses_an_acknowledged_job_or_does_one_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (file, kills) = (folder.path().join("livos.redb"), matrix(KILLS));
    let book = work_and_be_killed(file.as_os_str(), kills);
    let file = Embedded::open(&file, EmbeddedConfig::default()).unwrap();
    settle(&EmbeddedQueue::new(file, QueueConfig::default()), &book, kills).await;
}

#[cfg(all(feature = "redis", feature = "test-util"))]
mod with_redis {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, AtomicU64, Ordering},
        },
        time::Instant,
    };

    use livos_core::{
        queue::{Enqueued, Intake, JobKind, NewJob, RedisQueue},
        redis::{Redis, RedisConfig},
        testing::RedisServer,
    };

    use super::*;

    fn queue(server: &RedisServer) -> RedisQueue {
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        RedisQueue::new(redis, "load", QueueConfig::default()).unwrap()
    }

    #[tokio::test]
    async fn no_kill_of_a_worker_loses_an_acknowledged_job_or_does_one_twice() {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        let kills = matrix(KILLS_WITH_REDIS);
        let book = work_and_be_killed(OsStr::new(server.url().expose()), kills);
        settle(&queue(&server), &book, kills).await;
    }

    /// Enqueues as fast as the bound of the queue lets it, until it is told to stop; answers how
    /// many jobs.
    async fn produce(queue: RedisQueue, stop: Arc<AtomicBool>) -> u64 {
        const CALLERS: u64 = 8;
        let next = Arc::new(AtomicU64::new(0));
        let callers = (0..CALLERS).map(|_| {
            let (queue, stop, next) = (queue.clone(), Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let job = NewJob::new(JobKind::from_static("load"), n.to_string());
                    while let Enqueued::Full { .. } =
                        queue.enqueue(SystemClock.now(), job.clone()).await.unwrap()
                    {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        next.load(Ordering::SeqCst)
    }

    /// Runs so many workers for some seconds, killing one of them every second, over jobs that are
    /// enqueued all the time. Answers jobs a second.
    async fn share(workers: usize) -> f64 {
        const SECONDS: u64 = 4;
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        let queue = queue(&server);
        let url = server.url().expose().to_owned();
        let (lines, said) = std::sync::mpsc::channel();
        let start = |run: u64| {
            let mut child = Command::new(program())
                .args([&url, "0", &(run * STEP).to_string(), "work"])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            let (output, lines) = (child.stdout.take().unwrap(), lines.clone());
            let reader = thread::spawn(move || {
                for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                    let _ = lines.send(String::from_utf8_lossy(&line).into_owned());
                }
            });
            (child, reader)
        };
        let mut running: Vec<_> = (0..workers).map(|_| start(0)).collect();
        let (begun, mut kills, stop) = (Instant::now(), 0, Arc::new(AtomicBool::new(false)));
        let producer = tokio::spawn(produce(queue.clone(), Arc::clone(&stop)));
        while begun.elapsed() < Duration::from_secs(SECONDS) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if workers > 1 {
                kills += 1;
                let (mut child, reader) = running.remove(0);
                child.kill().unwrap();
                child.wait().unwrap();
                reader.join().unwrap();
                // Its clock is ahead, so that it takes over at once what the killed one held.
                running.push(start(kills));
            }
        }
        stop.store(true, Ordering::SeqCst);
        let n = producer.await.unwrap();
        let throughput = n as f64 / begun.elapsed().as_secs_f64();
        while queue.depth().await.unwrap().total() > 0 && begun.elapsed() < Duration::from_secs(60) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (mut child, reader) in running {
            child.kill().unwrap();
            child.wait().unwrap();
            reader.join().unwrap();
        }
        drop(lines);
        let mut book = Book { shared: true, ..Book::default() };
        said.iter().for_each(|line| book.note(&line));
        let all: BTreeSet<u64> = (0..n).collect();
        let done: BTreeSet<u64> = book.acked.union(&book.acking).copied().collect();
        assert_eq!(all.difference(&done).count(), 0, "jobs were never done");
        assert!(book.acked.len() as u64 + kills * 2 >= n, "only a kill can hide an ack");
        println!("{workers} workers: {throughput:.0} jobs a second, {n} in all, {kills} workers killed");
        throughput
    }

    #[tokio::test]
    async fn workers_share_a_queue_and_one_that_is_killed_is_taken_over_from() {
        for workers in 1..=3 {
            assert!(share(workers).await > 0.0);
        }
    }
}
