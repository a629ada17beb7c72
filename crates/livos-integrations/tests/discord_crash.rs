//! A process that listens to Discord is killed with SIGKILL, between each two steps and at random
//! instants: no message is lost, and none becomes two jobs.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.
#![allow(clippy::print_stdout)] // What was counted is shown with `--no-capture`.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Intake, QueueConfig},
    testing::matrix,
};
use livos_twins::discord::{ANNA, Config, Discord};
use rand::{Rng, SeedableRng, rngs::SmallRng};

/// Kills between each two steps, and three at random instants for every seven of them, in the whole
/// matrix.
const ROUNDS: u64 = 12;
const STEPS: [&str; 7] = ["dispatched", "advanced", "counting", "counted", "leased", "acking", "acked"];
const AT_RANDOM: u64 = 3;
/// Longer than a lease, so that the next process finds every lease over.
const STEP: u64 = 30;
/// No step takes so long on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the processes said, in the order they said it.
#[derive(Default)]
struct Book {
    /// The job of each message.
    jobs: BTreeMap<u64, u64>,
    acking: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    duplicates: u64,
    taken_over: u64,
}

impl Book {
    /// Answers the step that a process stands at. A line that the kill cut in half says nothing.
    fn note(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |index: usize| words.get(index).and_then(|word| word.parse::<u64>().ok());
        match (words[0], number(1)) {
            ("at", None) => return words.get(1).map(|step| (*step).to_owned()),
            ("moved", Some(_)) => self.duplicates += number(2).unwrap_or(0),
            ("leased", Some(message)) => {
                let (Some(job), Some(attempt)) = (number(2), number(3)) else { return None };
                assert!(!self.acked.contains(&message), "message {message} was leased after it was acked");
                let first = *self.jobs.entry(message).or_insert(job);
                assert_eq!(first, job, "message {message} has two jobs");
                self.taken_over += u64::from(attempt > 1);
            }
            ("acking", Some(message)) => {
                self.acking.insert(message);
            }
            ("acked", Some(message)) => {
                assert!(self.acked.insert(message), "message {message} was acked twice");
            }
            _ => {}
        }
        None
    }

    fn has(&self, message: u64) -> bool {
        self.acked.contains(&message) || self.acking.contains(&message)
    }
}

fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples/discord_inbox");
    assert!(program.exists(), "{} is built with the tests", program.display());
    program
}

/// A process over the file, and its output.
struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// Dropped in time, the process is not killed for having neither ended nor stood still.
    watched: mpsc::Sender<()>,
}

impl Process {
    fn start(twin: SocketAddr, file: &Path, run: u64, stop: Option<(&str, u64)>) -> Self {
        let mut command = Command::new(program());
        command.arg(twin.to_string()).arg(file).arg((run * STEP).to_string());
        if let Some((step, count)) = stop {
            command.args([step, &count.to_string()]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let (id, (watched, waiting)) = (child.id().to_string(), mpsc::channel());
        thread::spawn(move || {
            if waiting.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-9", &id]).status();
            }
        });
        Self { child, lines, watched }
    }

    /// Reads until a line says so; false at the end of the output.
    fn read(&mut self, book: &mut Book, mut until: impl FnMut(&Book, Option<String>) -> bool) -> bool {
        let mut line = Vec::new();
        while self.lines.read_until(b'\n', &mut line).unwrap() > 0 {
            if line.pop() != Some(b'\n') {
                return false;
            }
            let step = book.note(&String::from_utf8_lossy(&line));
            if until(book, step) {
                return true;
            }
            line.clear();
        }
        false
    }

    fn kill(mut self, book: &mut Book) {
        self.child.kill().unwrap();
        drop(self.watched);
        while self.lines.fill_buf().is_ok_and(|left| !left.is_empty()) {
            let mut line = Vec::new();
            self.lines.read_until(b'\n', &mut line).unwrap();
            if line.pop() == Some(b'\n') {
                book.note(&String::from_utf8_lossy(&line));
            }
        }
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), None, "it was killed, and did not end by itself: {status}");
    }
}

/// The provider, the file, and what was said and promised.
struct Ordeal {
    twin: Discord,
    address: SocketAddr,
    folder: tempfile::TempDir,
    random: SmallRng,
    book: Book,
    said: BTreeSet<u64>,
    runs: u64,
    forgotten: u64,
}

impl Ordeal {
    fn start(&mut self, stop: Option<(&str, u64)>) -> Process {
        let run = self.runs;
        self.runs += 1;
        Process::start(self.address, &self.folder.path().join("livos.redb"), run, stop)
    }

    fn say(&mut self) -> u64 {
        let channel = self.twin.direct_channel(ANNA);
        let id = self.twin.say(channel, ANNA, &self.said.len().to_string());
        self.said.insert(id);
        id
    }

    /// A session that is gone leaves a gap, which is fetched.
    fn forget(&mut self) {
        self.twin.forget_sessions();
        self.forgotten += 1;
    }

    /// A channel is known once something was read in it.
    fn introduce(&mut self) {
        let mut process = self.start(None);
        let begun = Instant::now();
        while self.twin.connected_sessions() == 0 && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(5));
        }
        let greeting = self.say();
        let done = process.read(&mut self.book, |book, _| book.acked.contains(&greeting));
        assert!(done, "the first message was not done");
        process.kill(&mut self.book);
    }

    fn kill_at(&mut self, step: &str) {
        if step.starts_with("count") || self.random.random_ratio(1, 8) {
            self.forget();
        }
        (0..self.random.random_range(1..4)).for_each(|_| {
            self.say();
        });
        let count = self.random.random_range(1..3);
        let mut process = self.start(Some((step, count)));
        let (twin, said) = (self.twin.clone(), self.said.len());
        let stands = thread::scope(|scope| {
            let reader = scope.spawn(|| process.read(&mut self.book, |_, at| at.is_some()));
            for number in said.. {
                thread::sleep(Duration::from_millis(20));
                if reader.is_finished() {
                    break;
                }
                self.said.insert(twin.say(twin.direct_channel(ANNA), ANNA, &number.to_string()));
            }
            reader.join().unwrap()
        });
        assert!(stands, "the process did not reach {step}");
        process.kill(&mut self.book);
    }

    fn kill_at_random(&mut self) {
        if self.random.random_ratio(1, 4) {
            self.forget();
        }
        let process = self.start(None);
        // From before the file is open to the middle of the work.
        let end = Instant::now() + Duration::from_micros(self.random.random_range(2_000..120_000));
        while Instant::now() < end {
            self.say();
            thread::sleep(Duration::from_millis(10));
        }
        process.kill(&mut self.book);
    }

    /// Lets a last process do what is left, and compares.
    fn settle(mut self, kills: u64) {
        let mut last = self.start(None);
        let said = self.said.clone();
        let done = |book: &Book| said.iter().all(|id| book.has(*id));
        if !done(&self.book) {
            last.read(&mut self.book, |book, _| done(book));
        }
        last.kill(&mut self.book);
        let book = &self.book;
        let lost: Vec<_> = said.iter().filter(|id| !book.has(**id)).collect();
        assert!(lost.is_empty(), "{} of {} messages are lost: {lost:?}", lost.len(), said.len());
        let jobs: BTreeSet<u64> = book.jobs.values().copied().collect();
        assert_eq!(jobs.len(), book.jobs.len(), "two messages have one job");
        assert!(book.jobs.keys().all(|id| said.contains(id)), "a job of no message");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let file = Embedded::open(self.folder.path().join("livos.redb"), EmbeddedConfig::default()).unwrap();
        let depth = runtime.block_on(EmbeddedQueue::new(file, QueueConfig::default()).depth()).unwrap();
        assert_eq!(depth.dead, 0, "no job is given up because its workers were killed a few times");
        let stats = self.twin.stats();
        println!(
            "{kills} kills: {} messages, {} jobs, {} left to be acked again, {} duplicates refused, {} leases taken over, {} resumes, \
             {} identifies, {} sessions forgotten",
            said.len(),
            book.jobs.len(),
            depth.total(),
            book.duplicates,
            book.taken_over,
            stats.resumes,
            stats.identifies,
            self.forgotten,
        );
        assert!(stats.resumes > 0 && stats.identifies > 1 && book.taken_over > 0 && book.duplicates > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_message_or_makes_two_jobs_of_it() {
    let config =
        Config { identify_spacing: Duration::ZERO, identifies_per_day: u32::MAX, ..Config::default() };
    let twin = Discord::new(config);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(livos_twins::serve::listen(listener, twin.clone(), std::future::pending()));
    let mut ordeal = Ordeal {
        twin,
        address,
        folder: tempfile::tempdir().unwrap(),
        random: SmallRng::seed_from_u64(7),
        book: Book::default(),
        said: BTreeSet::new(),
        runs: 0,
        forgotten: 0,
    };
    let round = STEPS.len() as u64 + AT_RANDOM;
    let rounds = matrix(ROUNDS);
    tokio::task::spawn_blocking(move || {
        ordeal.introduce();
        for _ in 0..rounds {
            STEPS.iter().for_each(|step| ordeal.kill_at(step));
            (0..AT_RANDOM).for_each(|_| ordeal.kill_at_random());
        }
        ordeal.settle(rounds * round);
    })
    .await
    .unwrap();
}
