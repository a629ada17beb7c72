//! A bot's process is killed with SIGKILL between each two steps of polling, enqueueing,
//! confirming, answering and acking: no update is lost, none becomes two jobs, and none is answered
//! twice.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.
#![allow(clippy::print_stdout)] // What was counted is shown with `--no-capture`.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{DeadLetters, EmbeddedQueue, QueueConfig, Work},
    testing::matrix,
    time::{Clock, SystemClock},
};
use livos_twins::{
    serve,
    telegram::{Config, Telegram},
};
use tokio::net::TcpListener;

/// Kills at each step, and half as many more at any instant, in the whole matrix.
const KILLS: u64 = 10;
const STEPS: [&str; 9] =
    ["polling", "polled", "advancing", "advanced", "leased", "sending", "sent", "acking", "acked"];
/// Longer than a lease, so that the next process finds every lease over.
const AHEAD: u64 = 30;

/// What the processes said.
#[derive(Default)]
struct Book {
    /// The jobs of each update.
    jobs: BTreeMap<i64, BTreeSet<u64>>,
    acking: BTreeSet<i64>,
    acked: BTreeSet<i64>,
    /// Kills between a lease and the end of its answer: whether that was sent may be unknown then.
    doubts: u64,
}

impl Book {
    /// What one process said until it was killed. A line that the kill cut in half says nothing.
    fn note(&mut self, lines: &[String]) {
        let mut answering = false;
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
            match (words[0], number(1), number(2)) {
                ("leased", Some(update), Some(job)) => {
                    assert!(
                        !self.acked.contains(&update),
                        "update {update} was worked on after it was acked"
                    );
                    self.jobs.entry(update).or_default().insert(job.unsigned_abs());
                    answering = true;
                }
                ("acking", Some(update), _) => {
                    self.acking.insert(update);
                    answering = false;
                }
                ("acked", Some(update), _) => {
                    assert!(self.acked.insert(update), "update {update} was acked twice");
                }
                ("sent", ..) => answering = false,
                _ => {}
            }
        }
        self.doubts += u64::from(answering);
    }
}

fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/telegram_under_kill");
    assert!(program.exists(), "{} is built with the tests", program.display());
    program
}

/// A child that is killed when the test fails, too.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When a process is killed.
enum When<'a> {
    /// Where it stands still at a step for the n-th time.
    At(&'a str, u64),
    /// After a while.
    After(Duration),
    /// Once this is so.
    Once(&'a dyn Fn() -> bool),
}

/// Runs a process, and kills it. Answers what it said.
fn work_and_kill(url: &str, file: &Path, ahead: u64, when: &When<'_>) -> Vec<String> {
    let mut command = Command::new(program());
    command.arg(url).arg(file).arg(ahead.to_string()).stdout(Stdio::piped());
    if let When::At(step, times) = when {
        command.arg(step).arg(times.to_string());
    }
    let mut child = Killed(command.spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).split(b'\n').map_while(Result::ok);
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    let (here, reached) = std::sync::mpsc::channel();
    let reader = thread::spawn(move || {
        let mut said = Vec::new();
        for line in lines {
            if line == "here" {
                let _ = here.send(());
            }
            said.push(line);
        }
        said
    });
    match when {
        When::At(step, _) => {
            assert!(reached.recv_timeout(Duration::from_secs(60)).is_ok(), "it never came to {step}");
        }
        When::After(time) => thread::sleep(*time),
        When::Once(reached) => {
            let polls =
                (0..6000).take_while(|_| !reached()).map(|_| thread::sleep(Duration::from_millis(10)));
            assert!(polls.count() < 6000, "it never came to that");
        }
    }
    child.0.kill().unwrap();
    let status = child.0.wait().unwrap();
    assert_eq!(status.code(), None, "it was killed, and did not end by itself: {status}");
    reader.join().unwrap()
}

/// Nothing waits to be polled, and nothing was sent for a while.
struct Quiet {
    twin: Telegram,
    calls: Cell<u64>,
    since: Cell<Instant>,
}

impl Quiet {
    fn new(twin: Telegram) -> Self {
        Self { twin, calls: Cell::new(0), since: Cell::new(Instant::now()) }
    }

    fn reached(&self) -> bool {
        let calls = self.twin.calls("sendmessage");
        if self.calls.replace(calls) != calls || self.twin.pending() > 0 {
            self.since.set(Instant::now());
        }
        self.since.get().elapsed() > Duration::from_secs(1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_an_update_makes_two_jobs_of_it_or_answers_it_twice() {
    let kills = matrix(KILLS);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livos.redb");
    let twin = Telegram::new(Config { floods: false, ..Config::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve::listen(listener, twin.clone(), std::future::pending()));

    // People go on talking whatever happens, each in a chat of their own; not faster than is
    // listened to, or the queue would only be full.
    let (talking, said) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let talk = {
        let (twin, talking, said) = (twin.clone(), Arc::clone(&talking), Arc::clone(&said));
        thread::spawn(move || {
            while talking.load(Ordering::SeqCst) {
                if twin.pending() < 3 {
                    let n = said.fetch_add(1, Ordering::SeqCst);
                    twin.say(1_000 + i64::try_from(n).unwrap(), &n.to_string());
                }
                thread::sleep(Duration::from_millis(20));
            }
        })
    };

    let (mut book, mut runs) = (Book::default(), 0);
    let (in_file, provider) = (file.clone(), twin.clone());
    let (mut book, runs) = tokio::task::spawn_blocking(move || {
        for round in 0..kills {
            for step in STEPS {
                runs += 1;
                book.note(&work_and_kill(&url, &in_file, runs * AHEAD, &When::At(step, 1 + round % 3)));
                if runs % 2 == 0 {
                    runs += 1;
                    let after = Duration::from_micros(3_000 + runs * 7_919 % 60_000);
                    book.note(&work_and_kill(&url, &in_file, runs * AHEAD, &When::After(after)));
                }
            }
        }
        talking.store(false, Ordering::SeqCst);
        talk.join().unwrap();
        runs += 1;
        let quiet = Quiet::new(provider);
        book.note(&work_and_kill(&url, &in_file, runs * AHEAD, &When::Once(&|| quiet.reached())));
        (book, runs)
    })
    .await
    .unwrap();

    let updates = usize::try_from(said.load(Ordering::SeqCst)).unwrap();
    let file = Embedded::open(&file, EmbeddedConfig::default()).unwrap();
    let queue = EmbeddedQueue::new(file, QueueConfig::default());
    let now = SystemClock.now().plus(Duration::from_secs((runs + 1) * AHEAD));
    let mut left = BTreeSet::new();
    while let Some(lease) = queue.lease(now, &[], Duration::from_secs(60)).await.unwrap() {
        let update = livos_integrations::telegram::update(&lease.payload).unwrap().update_id;
        book.jobs.entry(update).or_default().insert(lease.id.0);
        assert!(left.insert(update) && !book.acked.contains(&update), "update {update} is there again");
    }
    assert_eq!(queue.dead(None, 10).await.unwrap(), []);
    let doubled: Vec<_> = book.jobs.iter().filter(|(_, jobs)| jobs.len() != 1).collect();
    assert!(doubled.is_empty(), "these updates became several jobs: {doubled:?}");
    let mut kept: BTreeSet<i64> = book.acked.union(&book.acking).copied().collect();
    kept.extend(&left);
    assert_eq!((book.jobs.len(), kept.len()), (updates, updates), "updates were lost");
    let answers: Vec<usize> =
        (0..updates).map(|n| twin.written(1_000 + i64::try_from(n).unwrap()).len()).collect();
    assert!(answers.iter().all(|answers| *answers <= 1), "somebody was answered twice: {answers:?}");
    let silent = answers.iter().filter(|answers| **answers == 0).count() as u64;
    assert!(left.len() <= 1, "the last process was left alone until it had caught up");
    println!(
        "{runs} processes killed: {updates} updates, {} jobs, {} of them left, {} answers, {silent} unanswered after {} kills in doubt",
        book.jobs.len(),
        left.len(),
        answers.iter().sum::<usize>(),
        book.doubts,
    );
    assert!(silent <= book.doubts + left.len() as u64, "an answer is missing that was not being sent");
    let steps = kills as usize * STEPS.len();
    assert!(runs as usize > steps && updates > steps, "{runs} kills and {updates} updates show nothing");
}
