//! Listens to a bot of Discord's and does its jobs, and writes down what it was promised: killed at
//! any instant, it loses nothing.
//!
//! `cargo run -p livos-integrations --example discord_inbox -- HOST:PORT FILE SECONDS [STEP COUNT]`
//! speaks to a server of Discord's protocol in the clear, with the token `bot-token`, and works
//! until it is killed. Each line of its output is a fact: `moved ENQUEUED DUPLICATES`,
//! `leased MESSAGE JOB ATTEMPT`, `acking MESSAGE`, `acked MESSAGE`. `SECONDS` are added to its
//! clock, so that the leases of a process that was killed are over. The `COUNT`th time that it
//! reaches `STEP`, it says `at STEP` and blocks forever, so that a test can kill it right there:
//! `dispatched` (an event came, nothing is durable), `advanced` (job and number are),
//! `counting` and `counted` (the same for what has no job: an identify, a new session), `leased`,
//! `acking`, `acked`.

#![allow(clippy::print_stdout)] // What it prints is what it is for.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::Uri;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use livos_core::{
    backoff::BackoffConfig,
    bell::News,
    drain::Drain,
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, EmbeddedQueue, Enqueued, Intake, JobId,
        JobKind, Lease, LeaseError, Nack, NewJob, QueueConfig, QueueError, Repeat, Schedule, Work,
    },
    secret::Secret,
    store::EmbeddedStore,
    time::{Clock, SystemClock, Timestamp},
};
use livos_integrations::discord::{Event, Listener, ListenerConfig, Rest, RestConfig};
use tokio::net::TcpStream;
use tower::service_fn;

type BoxError = Box<dyn Error + Send + Sync>;

/// A clock that is ahead.
#[derive(Clone)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

/// Where to stand still.
struct Stop {
    step: String,
    left: AtomicU64,
}

impl Stop {
    /// With one thread for everything but the file, all of the process stands.
    fn reach(&self, step: &str) {
        if self.step == step && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            println!("at {step}");
            loop {
                std::thread::park();
            }
        }
    }
}

/// The queue, with the steps of the listener told and counted.
struct Watched {
    queue: EmbeddedQueue,
    stop: Arc<Stop>,
}

#[async_trait]
impl Intake for Watched {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        self.queue.enqueue(now, job).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        let has_job = advance.steps.iter().any(|step| step.job.is_some());
        let (before, after) = if has_job { ("dispatched", "advanced") } else { ("counting", "counted") };
        self.stop.reach(before);
        let advanced = self.queue.advance(now, advance).await?;
        self.stop.reach(after);
        if let Advanced::Moved { enqueued, duplicates, .. } = advanced {
            println!("moved {enqueued} {duplicates}");
        }
        Ok(advanced)
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        self.queue.cursor(name).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.queue.depth().await
    }
}

#[async_trait]
impl Work for Watched {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        self.queue.lease(now, kinds, visibility).await
    }

    async fn extend(&self, now: Timestamp, lease: Lease, by: Duration) -> Result<Lease, LeaseError> {
        self.queue.extend(now, lease, by).await
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        self.queue.ack(now, lease).await
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        self.queue.nack(now, lease, how).await
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        self.queue.tick(now).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        self.queue.next_due(now).await
    }

    fn listen(&self) -> News {
        self.queue.listen()
    }
}

#[async_trait]
impl DeadLetters for Watched {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.queue.dead(after, limit).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        self.queue.replay(now, id).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        self.queue.discard(id).await
    }
}

#[async_trait]
impl Schedule for Watched {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        self.queue.repeat(now, repeat).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        self.queue.unrepeat(name).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.queue.repeats().await
    }
}

async fn work(queue: EmbeddedQueue, clock: Ahead, stop: Arc<Stop>) -> Result<(), BoxError> {
    const VISIBILITY: Duration = Duration::from_secs(20);
    let mut news = queue.listen();
    loop {
        let Some(lease) = queue.lease(clock.now(), &[], VISIBILITY).await? else {
            news.wait(Duration::from_millis(5)).await;
            continue;
        };
        let message = match Event::from_bytes(&lease.payload)? {
            Event::Message(message) => message.id,
            Event::Interaction(interaction) => interaction.id,
            _ => continue,
        };
        println!("leased {message} {} {}", lease.id, lease.attempt);
        stop.reach("leased");
        println!("acking {message}");
        stop.reach("acking");
        queue.ack(clock.now(), lease).await?;
        println!("acked {message}");
        stop.reach("acked");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, file, seconds, stop @ ..] = &arguments[..] else {
        return Err("usage: discord_inbox HOST:PORT FILE SECONDS [STEP COUNT]".into());
    };
    let stop = match stop {
        [step, count] => Stop { step: step.clone(), left: AtomicU64::new(count.parse()?) },
        _ => Stop { step: String::new(), left: AtomicU64::new(0) },
    };
    let (stop, clock) = (Arc::new(stop), Ahead(Duration::from_secs(seconds.parse()?)));
    let file = Embedded::open(file, EmbeddedConfig::default())?;
    let queue = EmbeddedQueue::new(file.clone(), QueueConfig::default());

    let mut config = RestConfig::new(Secret::new("bot-token"));
    config.base_url = format!("http://{address}/api/v10").parse()?;
    let rest = Rest::new(
        config,
        livos_core::http::HttpClient::new(
            Client::builder(TokioExecutor::new()).build_http::<http_body_util::Full<bytes::Bytes>>(),
        ),
    )?;
    let connector = service_fn(|address: Uri| async move {
        let authority = address.authority().ok_or("the address names no host")?;
        let stream = TcpStream::connect(authority.as_str()).await?;
        stream.set_nodelay(true)?;
        Ok::<_, BoxError>(stream)
    });
    let mut config = ListenerConfig::default();
    config.url = format!("ws://{address}");
    // It is killed hundreds of times in a minute, and its server allows that.
    config.identify.spacing = Duration::ZERO;
    config.identify.per_day = u32::MAX;
    let quick = Duration::from_millis(5);
    let mut retry = BackoffConfig::default();
    (retry.first, retry.longest) = (quick, quick);
    (config.retry, config.gateway.reconnect.backoff) = (retry, retry);

    let watched = Arc::new(Watched { queue: queue.clone(), stop: Arc::clone(&stop) });
    let store = Arc::new(EmbeddedStore::new(file));
    let listener = Listener::new(config, connector, rest, watched, store, clock.clone());
    let drain = Drain::new();
    let signal = drain.signal();
    tokio::try_join!(async { listener.run(signal).await.map_err(BoxError::from) }, work(queue, clock, stop))?;
    Ok(())
}
