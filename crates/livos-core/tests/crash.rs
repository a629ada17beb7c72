//! A process under load is killed with SIGKILL at random instants, again and again: what it was promised is kept.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
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

/// More with `LIVOS_KILLS`.
const KILLS: u64 = 300;
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
                assert!(!self.acked.contains(&n), "job {n} was leased after it was acked");
                let attempt = words.next().and_then(|attempt| attempt.parse().ok()).unwrap_or(0);
                assert!(self.attempts.insert((n, attempt)), "attempt {attempt} of job {n} was counted twice");
                self.killed_in_lease += usize::from(attempt > 1);
            }
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

/// Lets a process work for a while, and kills it.
fn work_and_kill(file: &Path, run: u64, after: Duration, book: &mut Book) {
    let first = book.enqueued.last().map_or(0, |last| last + 1);
    let mut child = Command::new(program())
        .arg(file)
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

#[tokio::test]
async fn no_kill_loses_an_acknowledged_job_or_does_one_twice() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livos.redb");
    let kills = std::env::var("LIVOS_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let (mut book, mut random) = (Book::default(), SmallRng::seed_from_u64(11));
    for run in 0..kills {
        // From before the file is open to the middle of the work.
        let after = Duration::from_micros(random.random_range(2_000..90_000));
        work_and_kill(&file, run, after, &mut book);
    }

    let queue =
        EmbeddedQueue::new(Embedded::open(&file, EmbeddedConfig::default()).unwrap(), QueueConfig::default());
    let now = SystemClock.now().plus(Duration::from_secs((kills + 1) * STEP));
    let mut left = BTreeSet::new();
    while let Some(lease) = queue.lease(now, &[], Duration::from_secs(60)).await.unwrap() {
        let n: u64 = std::str::from_utf8(&lease.payload).unwrap().parse().unwrap();
        assert!(left.insert(n), "job {n} is there twice");
    }
    assert_eq!(
        queue.dead(None, 10).await.unwrap(),
        [],
        "no job is given up because its workers were killed a few times"
    );
    let lost: Vec<_> = book
        .enqueued
        .iter()
        .filter(|n| !left.contains(n) && !book.acked.contains(n) && !book.acking.contains(n))
        .collect();
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
