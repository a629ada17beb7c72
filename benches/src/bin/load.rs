//! Prints how many deliveries a second are verified, durable and acknowledged over TCP while the
//! agent is slow, how long each acknowledgement takes, and what memory that takes; in the embedded
//! file and in Redis.
//!
//! `cargo xtask bench load`; `-- --help` names the sizes. The senders are GitHub's twin, each on a
//! connection of its own, one delivery at a time. The file is synced before an answer, and so is
//! Redis' own. The senders run in this process too and share its processors and its memory.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Parser;
use http::header::HOST;
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use livos_core::{
    drain::Drain,
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Job, JobKind, Outcome, Queue, QueueConfig, RedisQueue, Worker, WorkerConfig},
    redis::{Redis, RedisConfig},
    secret::Secret,
    testing::RedisServer,
    time::SystemClock,
};
use livos_integrations::webhook::{self, GitHub, Intake};
use livos_twins::webhooks::{Account, Event, Provider};
use tokio::net::{TcpListener, TcpStream};

#[derive(Parser)]
struct Args {
    /// Seconds for each row.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of each delivery.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// How long the agent takes for each job, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    agent_ms: u64,
    /// Where the files go: on the disk that is to be measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))]
    folder: PathBuf,
}

/// Connections at one time.
const SENDERS: [u64; 3] = [1, 8, 64];
const KIND: JobKind = JobKind::from_static("webhook.github");

#[tokio::main]
async fn main() {
    let args = Args::parse();
    std::fs::create_dir_all(&args.folder).unwrap();
    println!(
        "\nDeliveries of {} bytes, an agent of {} ms, {} s each\n",
        args.body, args.agent_ms, args.seconds
    );
    println!(
        "| where | senders | a second | ack p50 ms | ack p99 ms | MiB at first | half-way | at the end |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for senders in SENDERS {
        let folder = tempfile::tempdir_in(&args.folder).unwrap();
        let file = Embedded::open(folder.path().join("queue.redb"), EmbeddedConfig::default()).unwrap();
        row("embedded file", Arc::new(EmbeddedQueue::new(file, bounds())), senders, &args).await;
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        row("Redis", Arc::new(RedisQueue::new(redis, "load", bounds()).unwrap()), senders, &args).await;
    }
}

/// A queue that takes it all: the intake is measured, and not the refusal.
fn bounds() -> QueueConfig {
    let mut config = QueueConfig::default();
    (config.refuse_at, config.alert_at) = (u64::MAX >> 12, u64::MAX >> 12);
    config
}

async fn row(name: &str, queue: Arc<dyn Queue>, senders: u64, args: &Args) {
    let account = Account::new(Provider::GitHub, "/hooks/github", 1);
    let verifier = Arc::new(GitHub::new([Secret::new(account.credential())]).unwrap());
    let intake = webhook::intake(verifier, Arc::clone(&queue), KIND, SystemClock);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, intake));
    let drain = Drain::new();
    let signal = drain.signal();
    let pause = Duration::from_millis(args.agent_ms);
    let agent = tower::service_fn(move |_: Job| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, Infallible>(Outcome::Done)
    });
    let worker = tokio::spawn(Worker::new(queue, agent, SystemClock, WorkerConfig::default()).run(signal));
    let times = Arc::new(Times::new());
    let (number, first) = (Arc::new(AtomicU64::new(0)), resident());
    let until = Instant::now() + Duration::from_secs(args.seconds);
    let sending: Vec<_> = (0..senders)
        .map(|_| {
            let (number, times) = (Arc::clone(&number), Arc::clone(&times));
            tokio::spawn(send(address, account.clone(), args.body, number, until, times))
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(args.seconds) / 2).await;
    let half = resident();
    for sender in sending {
        sender.await.unwrap();
    }
    let last = resident();
    println!(
        "| {name} | {senders} | {:.0} | {:.2} | {:.2} | {first:.0} | {half:.0} | {last:.0} |",
        times.count() as f64 / args.seconds as f64,
        times.quantile_ms(0.5),
        times.quantile_ms(0.99),
    );
    drain.begin();
    server.abort();
    worker.abort();
}

async fn serve(listener: TcpListener, intake: Intake<SystemClock>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let service = TowerToHyperService::new(intake.clone());
        tokio::spawn(async move {
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// How often each time was measured, in as much memory for a million times as for one: this
/// process' memory is measured too.
struct Times(Box<[AtomicU32]>);

impl Times {
    /// A time is told from another to so much.
    const STEP: Duration = Duration::from_micros(10);
    /// Two seconds; what took longer counts as that.
    const STEPS: usize = 200_000;

    fn new() -> Self {
        // Written one by one, so that the memory is there from the beginning.
        Self((0..Self::STEPS).map(|_| AtomicU32::new(0)).collect())
    }

    fn add(&self, time: Duration) {
        let step = (time.as_nanos() / Self::STEP.as_nanos()) as usize;
        self.0[step.min(Self::STEPS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(count.load(Ordering::Relaxed))).sum()
    }

    fn quantile_ms(&self, part: f64) -> f64 {
        let wanted = (self.count().saturating_sub(1) as f64 * part) as u64;
        let mut before = 0;
        let found = self.0.iter().position(|count| {
            before += u64::from(count.load(Ordering::Relaxed));
            before > wanted
        });
        (found.unwrap_or_default() as f64 + 0.5) * Self::STEP.as_secs_f64() * 1000.0
    }
}

/// Sends one delivery after the other, and notes how long each took to be acknowledged.
async fn send(
    address: SocketAddr,
    account: Account,
    size: usize,
    number: Arc<AtomicU64>,
    until: Instant,
    times: Arc<Times>,
) {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    while Instant::now() < until {
        let n = number.fetch_add(1, Ordering::Relaxed);
        let mut body = format!("{{\"n\":{n},\"pad\":\"");
        body.push_str(&"x".repeat(size.saturating_sub(body.len() + 2)));
        body.push_str("\"}");
        let event = Event { id: format!("{n:032x}"), body: Bytes::from(body) };
        let mut request = account.request(&event, Duration::ZERO);
        request.headers_mut().insert(HOST, "localhost".parse().unwrap());
        sender.ready().await.unwrap();
        let start = Instant::now();
        let answer = sender.send_request(request).await.unwrap();
        times.add(start.elapsed());
        assert_eq!(answer.status(), 200, "every delivery is taken");
        drop(answer);
    }
}

/// Memory of this process, in MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}
