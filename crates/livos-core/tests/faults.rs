//! What can be wrong with a server, a disk or a job: each is told in words, and nothing
//! acknowledged is lost.
//!
//! Damaged files, second processes and disks that fail in the middle are in
//! `src/embedded/tests.rs`; clocks that are set back or forward, and jobs that are too large, are
//! in the queue's contract, which every backend passes.

#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use livos_core::{
    embedded::{Embedded, EmbeddedConfig, OpenError, StorageError},
    queue::{EmbeddedQueue, Enqueued, Intake, JobKind, NewJob, Queue, QueueConfig, QueueError, Work},
    testing::SmallDisk,
    time::{Clock, SystemClock},
};

const KIND: JobKind = JobKind::from_static("load");

#[tokio::test]
async fn a_disk_that_runs_full_refuses_jobs_and_keeps_those_that_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), 8 << 20) else { return };
    let open = || {
        let file = Embedded::open(folder.path().join("livos.redb"), EmbeddedConfig::default()).unwrap();
        (EmbeddedQueue::new(file.clone(), QueueConfig::default()), file)
    };
    let (queue, file) = open();
    let enqueue = |queue: EmbeddedQueue, n: u64| async move {
        let job = NewJob::new(KIND, format!("{n:8}{:50000}", ""));
        queue.enqueue(SystemClock.now(), job).await
    };
    let mut accepted = 0;
    let refused = loop {
        match enqueue(queue.clone(), accepted).await {
            Ok(Enqueued::Enqueued(_)) => accepted += 1,
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(refused, QueueError::Storage(StorageError::DiskFull)), "{refused:?}");
    assert!(refused.is_temporary());
    assert!(enqueue(queue.clone(), accepted).await.is_err(), "it stays full");
    disk.resize(64 << 20);
    // It goes on as soon as there is room; the first write after it may still find the file closed.
    let _ = enqueue(queue.clone(), accepted).await;
    let before = queue.depth().await.unwrap().ready;
    assert!(matches!(enqueue(queue.clone(), accepted + 1).await, Ok(Enqueued::Enqueued(_))));
    assert!(before == accepted || before == accepted + 1, "{before} of {accepted}");
    file.close().await;
    let (queue, _file) = open();
    for n in 0..accepted {
        let lease = queue.lease(SystemClock.now(), &[], Duration::from_secs(600)).await.unwrap().unwrap();
        assert!(lease.payload.starts_with(format!("{n:8}").as_bytes()), "{n}");
    }
}

#[tokio::test]
async fn a_disk_that_is_read_only_is_named_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(folder.path(), 8 << 20) else { return };
    let open = || Embedded::open(folder.path().join("livos.redb"), EmbeddedConfig::default());
    open().unwrap().close().await;
    disk.make_read_only();
    let error = open().unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error:?}");
    assert!(error.to_string().contains("mounted read-only"), "{error}");
}

/// A worker of its own process, which the job `poison` kills. `place` is a file or an address.
struct Workers {
    place: String,
    deaths: u64,
}

impl Workers {
    /// Works until there is nothing more to do, with a new process whenever one died.
    fn work(&mut self) {
        loop {
            let mut child = self.start();
            let output = BufReader::new(child.stdout.take().unwrap());
            let (lines, said) = mpsc::channel();
            thread::spawn(move || {
                for line in output.lines().map_while(Result::ok) {
                    let _ = lines.send(line);
                }
            });
            let end = loop {
                // Far longer than a job takes.
                match said.recv_timeout(Duration::from_secs(3)) {
                    Ok(_) => {}
                    Err(end) => break end,
                }
            };
            if end == RecvTimeoutError::Timeout {
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
            assert_eq!(child.wait().unwrap().code(), None, "a job killed it; it did not end by itself");
            self.deaths += 1;
            assert!(self.deaths < 20, "one job kills workers without end");
        }
    }

    fn start(&self) -> Child {
        let tests = std::env::current_exe().unwrap();
        let program = tests.ancestors().nth(2).unwrap().join("examples/queue_under_load");
        // Each is so far ahead of the one before that the leases of that one are over.
        let ahead = (self.deaths * 30).to_string();
        let mut command = Command::new(program);
        command.args([&self.place, "0", &ahead, "work"]).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }
}

/// Twenty good jobs round one that kills its worker.
async fn enqueue_poison(queue: &dyn Queue) {
    for n in 0..=20 {
        let payload = if n == 10 { "poison".to_owned() } else { n.to_string() };
        let job = NewJob::new(KIND, payload).with_max_attempts(if n == 10 { 3 } else { 10 });
        assert!(matches!(queue.enqueue(SystemClock.now(), job).await.unwrap(), Enqueued::Enqueued(_)));
    }
}

async fn poison_is_dead_and_the_rest_is_done(queue: &dyn Queue, workers: &Workers) {
    let dead = queue.dead(None, 10).await.unwrap();
    assert_eq!(dead.len(), 1, "{dead:?}");
    assert_eq!((&dead[0].payload[..], dead[0].attempts), (&b"poison"[..], 3));
    assert!(dead[0].reason.contains("the worker died or hung"), "{}", dead[0].reason);
    assert_eq!(workers.deaths, 3, "a worker for each attempt, and no more");
    assert_eq!(queue.depth().await.unwrap().total(), 0);
}

#[tokio::test]
async fn a_job_that_kills_its_worker_is_given_up_and_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("livos.redb");
    let open = || Embedded::open(&place, EmbeddedConfig::default()).unwrap();
    let file = open();
    enqueue_poison(&EmbeddedQueue::new(file.clone(), QueueConfig::default())).await;
    file.close().await;
    let mut workers = Workers { place: place.display().to_string(), deaths: 0 };
    workers.work();
    poison_is_dead_and_the_rest_is_done(&EmbeddedQueue::new(open(), QueueConfig::default()), &workers).await;
}

#[cfg(feature = "redis")]
mod redis {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::{Arc, Mutex},
    };

    use livos_core::{
        queue::RedisQueue,
        redis::{Redis, RedisConfig, RedisErrorKind},
        secret::Secret,
        testing::RedisServer,
    };

    use super::*;

    fn server(options: &[&str]) -> (RedisServer, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        (RedisServer::start(folder.path(), options), folder)
    }

    async fn check(url: &str) -> (RedisErrorKind, String) {
        let redis = match Redis::new(RedisConfig::new(Secret::new(url))) {
            Ok(redis) => redis,
            Err(error) => return (error.kind(), error.to_string()),
        };
        let error = redis.check().await.unwrap_err();
        (error.kind(), error.to_string())
    }

    #[tokio::test]
    async fn a_job_that_kills_its_worker_is_given_up_and_the_others_are_done() {
        let (server, _folder) = server(&[]);
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        let queue = RedisQueue::new(redis, "load", QueueConfig::default()).unwrap();
        enqueue_poison(&queue).await;
        let mut workers = Workers { place: server.url().expose().to_owned(), deaths: 0 };
        workers.work();
        poison_is_dead_and_the_rest_is_done(&queue, &workers).await;
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_without_being_repeated() {
        for url in ["", "nonsense", "http://:pass-word@127.0.0.1", "redis://:pass-word@host:port", "redis://"]
        {
            let (kind, text) = check(url).await;
            let wrong =
                kind == RedisErrorKind::Refused || (url == "redis://" && kind == RedisErrorKind::Unreachable);
            assert!(wrong && !text.contains("pass-word"), "{url}: {text}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_at_once() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (kind, text) = check(&format!("redis://:pass-word@{free}")).await;
        assert_eq!(kind, RedisErrorKind::Unreachable, "{text}");
        assert!(text.contains("refused") && !text.contains("pass-word"), "{text}");
    }

    #[tokio::test]
    async fn a_wrong_password_is_told_and_not_shown() {
        let (server, _folder) = server(&["--requirepass", "the-right-one"]);
        let address = server.url().expose().trim_start_matches("redis://").to_owned();
        for credentials in ["", ":a-wrong-one@", "nobody:the-right-one@"] {
            let (kind, text) = check(&format!("redis://{credentials}{address}")).await;
            assert_eq!(kind, RedisErrorKind::Refused, "{credentials}: {text}");
            assert!(!text.contains("-one"), "{text}");
            assert!(text.to_lowercase().contains("auth") || text.contains("password"), "{text}");
        }
        let right = Secret::new(format!("redis://:the-right-one@{address}"));
        Redis::new(RedisConfig::new(right)).unwrap().check().await.unwrap();
    }

    /// Answers every command with what `answer` makes of its words.
    fn impostor(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, mut words) = (stream.unwrap(), [0; 4096]);
                while let Ok(read @ 1..) = stream.read(&mut words) {
                    if stream.write_all(&answer(&words[..read])).is_err() {
                        break;
                    }
                }
            }
        });
        url
    }

    #[tokio::test]
    async fn a_server_that_is_too_old_is_named_with_its_version() {
        let url = impostor(|words| {
            let text = String::from_utf8_lossy(words);
            let commands = text.split("\r\n").filter(|word| word.starts_with('*')).count();
            let info = "# Server\r\nredis_version:5.0.7\r\n";
            match text.contains("\nINFO") {
                true => format!("${}\r\n{info}\r\n", info.len()).into_bytes(),
                false => b"-ERR unknown command\r\n".repeat(commands),
            }
        });
        let (kind, text) = check(&url).await;
        assert_eq!(kind, RedisErrorKind::Refused, "{text}");
        assert!(text.contains("version 5.0.7, and 6.2 is the oldest"), "{text}");
    }

    #[tokio::test]
    async fn a_server_of_another_kind_is_told_from_one_that_is_away() {
        let url = impostor(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
        let (kind, text) = check(&url).await;
        assert_eq!(kind, RedisErrorKind::Broken, "{text}");
    }

    /// What was logged.
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_server_that_would_throw_jobs_away_or_is_nearly_full_is_warned_of_once() {
        let (server, _folder) = server(&["--maxmemory", "1100kb", "--maxmemory-policy", "allkeys-lru"]);
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _logging = tracing::subscriber::set_default(subscriber);
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        for _ in 0..3 {
            let memory = redis.check().await.unwrap();
            assert!(memory.evicts() && memory.policy == "allkeys-lru", "{memory:?}");
            assert!(memory.is_nearly_full(), "an empty server takes a megabyte: {memory:?}");
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(log.matches("set maxmemory-policy to noeviction").count(), 1, "{log}");
        assert_eq!(log.matches("Redis is nearly full").count(), 1, "{log}");
        assert_eq!(log.matches("keeps no append-only file").count(), 3, "{log}");
    }
}
