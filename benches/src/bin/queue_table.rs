//! Prints what a durable job costs: enqueues a second and how long each takes, bytes a queued job
//! takes, and how long it takes until the jobs are there again after a crash; in the embedded file,
//! in Redis, and with BullMQ in the same Redis.
//!
//! `cargo xtask bench queue_table` installs BullMQ from its lock file and runs it; `-- --help`
//! names the sizes. Redis keeps an append-only file and syncs it before every answer; the file does
//! the same. Nothing is compared that is not as durable.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Enqueued, Intake, JobKind, NewJob, Queue, QueueConfig, RedisQueue, Work},
    redis::{Redis, RedisConfig},
    testing::RedisServer,
    time::{Clock, SystemClock},
};
use serde_json::Value;

#[derive(Parser)]
struct Args {
    /// Seconds for each rate.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of each job's payload.
    #[arg(long, default_value_t = 500)]
    payload: usize,
    /// Jobs that are queued to see what memory they take.
    #[arg(long, default_value_t = 10_000)]
    memory_jobs: u64,
    /// Jobs that are queued when the crash comes.
    #[arg(long, default_value_t = 100_000)]
    recovery_jobs: u64,
    /// The folder with the script for BullMQ, and with its packages installed.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/bullmq"))]
    bullmq: PathBuf,
    /// Where the files go: on the disk that is to be measured.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target"))]
    folder: PathBuf,
}

const CALLERS: [u64; 3] = [1, 8, 64];
/// Before each rate is measured, for so long the same is done.
const WARM_UP: Duration = Duration::from_millis(500);
const KIND: JobKind = JobKind::from_static("bench");

/// Jobs a second, and two quantiles in microseconds.
struct Rate {
    per_second: f64,
    p50: f64,
    p99: f64,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    std::fs::create_dir_all(&args.folder).unwrap();
    // First, because what a process has had it rarely gives back.
    println!("\nBytes for each of {} queued jobs, {} of them payload\n", args.memory_jobs, args.payload);
    println!("| where | bytes a job |\n| --- | ---: |");
    memory(&args).await;
    println!(
        "\nDurable enqueue, {} bytes of payload, {} s each: jobs a second, p50 / p99 in ms\n",
        args.payload, args.seconds
    );
    println!("| callers | embedded file | Redis | BullMQ on the same Redis |\n| ---: | ---: | ---: | ---: |");
    for callers in CALLERS {
        let folder = tempfile::tempdir_in(&args.folder).unwrap();
        let embedded = rate(embedded(folder.path()).1, callers, &args).await;
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        let redis = rate(queue_in(&server), callers, &args).await;
        let bullmq = bullmq(&args, &server, "rate", &[callers, args.seconds, args.payload as u64]);
        let bullmq = bullmq.map(|answer| {
            let number = |name: &str| answer[name].as_f64().unwrap();
            Rate { per_second: number("per_second"), p50: number("p50"), p99: number("p99") }
        });
        println!(
            "| {callers} | {} | {} | {} |",
            cell(Some(&embedded)),
            cell(Some(&redis)),
            cell(bullmq.as_ref())
        );
    }
    println!("\nFrom a crash with {} queued jobs to the first lease\n", args.recovery_jobs);
    println!("| where | seconds |\n| --- | ---: |");
    recovery(&args).await;
}

fn cell(rate: Option<&Rate>) -> String {
    let Some(rate) = rate else { return "not installed".into() };
    format!("{:.0}, {:.2} / {:.2}", rate.per_second, rate.p50 / 1000.0, rate.p99 / 1000.0)
}

fn bounds() -> QueueConfig {
    let mut config = QueueConfig::default();
    (config.refuse_at, config.alert_at) = (1 << 40, 1 << 40);
    config
}

fn embedded(folder: &Path) -> (Embedded, Arc<dyn Queue>) {
    let file = Embedded::open(folder.join("livos.redb"), EmbeddedConfig::default()).unwrap();
    (file.clone(), Arc::new(EmbeddedQueue::new(file, bounds())))
}

fn queue_in(server: &RedisServer) -> Arc<dyn Queue> {
    let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
    Arc::new(RedisQueue::new(redis, "bench", bounds()).unwrap())
}

async fn enqueue(queue: &dyn Queue, payload: usize) {
    let job = NewJob::new(KIND, vec![b'x'; payload]);
    let enqueued = queue.enqueue(SystemClock.now(), job).await.unwrap();
    assert!(matches!(enqueued, Enqueued::Enqueued(_)), "{enqueued:?}");
}

async fn rate(queue: Arc<dyn Queue>, callers: u64, args: &Args) -> Rate {
    let run = |time: Duration| {
        let (queue, payload) = (Arc::clone(&queue), args.payload);
        let callers = (0..callers).map(move |_| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move {
                let (begun, mut times) = (Instant::now(), Vec::new());
                while begun.elapsed() < time {
                    let at = Instant::now();
                    enqueue(&*queue, payload).await;
                    times.push(at.elapsed().as_secs_f64() * 1e6);
                }
                times
            })
        });
        let callers: Vec<_> = callers.collect();
        async move {
            let mut times = Vec::new();
            for caller in callers {
                times.extend(caller.await.unwrap());
            }
            times
        }
    };
    run(WARM_UP).await;
    let begun = Instant::now();
    let mut times = run(Duration::from_secs(args.seconds)).await;
    let per_second = times.len() as f64 / begun.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
    Rate { per_second, p50: at(0.5), p99: at(0.99) }
}

/// By many callers, as fast as it goes.
async fn fill(queue: &Arc<dyn Queue>, jobs: u64, payload: usize) {
    const AT_ONCE: u64 = 256;
    let callers = (0..AT_ONCE).map(|caller| {
        let queue = Arc::clone(queue);
        tokio::spawn(async move {
            for _ in (caller..jobs).step_by(AT_ONCE as usize) {
                enqueue(&*queue, payload).await;
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
}

/// Runs the script for BullMQ; none where its packages are not installed.
fn bullmq(args: &Args, server: &RedisServer, what: &str, numbers: &[u64]) -> Option<Value> {
    if !args.bullmq.join("node_modules/bullmq").exists() {
        return None;
    }
    let port = server.url().expose().rsplit(':').next().unwrap().to_owned();
    let mut node = Command::new("node");
    node.arg(args.bullmq.join("bench.mjs")).args([what, &port]).args(numbers.iter().map(u64::to_string));
    let output = node.output().expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("one line of JSON"))
}

/// Bytes of this process in memory.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

async fn used(server: &RedisServer) -> u64 {
    Redis::new(RedisConfig::new(server.url())).unwrap().memory().await.unwrap().used
}

async fn memory(args: &Args) {
    let each = |bytes: u64| bytes / args.memory_jobs;
    let folder = tempfile::tempdir_in(&args.folder).unwrap();
    let (file, queue) = embedded(folder.path());
    enqueue(&*queue, args.payload).await;
    let size = || std::fs::metadata(folder.path().join("livos.redb")).unwrap().len();
    let (before, before_size) = (resident(), size());
    fill(&queue, args.memory_jobs, args.payload).await;
    println!(
        "| embedded: memory of the process, of which the page cache is bounded | {} |",
        each(resident().saturating_sub(before))
    );
    println!("| embedded: file | {} |", each(size() - before_size));
    file.close().await;
    let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
    let queue = queue_in(&server);
    enqueue(&*queue, args.payload).await;
    let before = used(&server).await;
    fill(&queue, args.memory_jobs, args.payload).await;
    println!("| Redis: memory of the server | {} |", each(used(&server).await - before));
    let (_other, server) = {
        let folder = tempfile::tempdir_in(&args.folder).unwrap();
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        (folder, server)
    };
    if bullmq(args, &server, "fill", &[1, args.payload as u64]).is_some() {
        let before = used(&server).await;
        bullmq(args, &server, "fill", &[args.memory_jobs, args.payload as u64]);
        println!("| BullMQ: memory of the same server | {} |", each(used(&server).await - before));
    }
}

async fn recovery(args: &Args) {
    let folder = tempfile::tempdir_in(&args.folder).unwrap();
    {
        let (file, queue) = embedded(folder.path());
        fill(&queue, args.recovery_jobs, args.payload).await;
        // What a killed process leaves: nothing is closed in order, and the lock is gone with it.
        std::fs::copy(folder.path().join("livos.redb"), folder.path().join("crashed.redb")).unwrap();
        file.close().await;
    }
    let begun = Instant::now();
    let file = Embedded::open(folder.path().join("crashed.redb"), EmbeddedConfig::default()).unwrap();
    let queue = EmbeddedQueue::new(file.clone(), bounds());
    let lease = queue.lease(SystemClock.now(), &[], Duration::from_secs(60)).await.unwrap();
    assert!(lease.is_some());
    println!("| embedded file, all checksums verified | {:.2} |", begun.elapsed().as_secs_f64());
    assert_eq!(queue.depth().await.unwrap().total(), args.recovery_jobs, "nothing is lost");
    file.close().await;

    let mut server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
    let queue = queue_in(&server);
    fill(&queue, args.recovery_jobs, args.payload).await;
    server.kill();
    let begun = Instant::now();
    server.launch();
    loop {
        match queue.lease(SystemClock.now(), &[], Duration::from_secs(60)).await {
            Ok(lease) => break assert!(lease.is_some()),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    println!("| Redis, killed and started again | {:.2} |", begun.elapsed().as_secs_f64());
    assert_eq!(queue.depth().await.unwrap().total(), args.recovery_jobs, "nothing is lost");
}
