//! Polls a Telegram bot, answers what it is told, and writes down each step: what is killed between
//! any two of them has lost nothing and said nothing twice.
//!
//! `cargo run -p livos-integrations --example telegram_under_kill -- URL FILE SECONDS [STEP N]`
//! works until it is killed. Each line of its output is a fact: `polling`, `polled`, `advancing`,
//! `advanced`, `leased UPDATE JOB`, `sending`, `sent`, `acking UPDATE`, `acked UPDATE`. With `STEP`
//! and `N` it stands still at that fact the N-th time, and says `here`. `SECONDS` are added to its
//! clock, so that the leases of a process that was killed are over. The crash test reads this
//! output.

#![allow(clippy::print_stdout)] // What it prints is what it is for.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use livos_core::{
    bell::News,
    conversation::{Finish, Reply, ReplyError, ReplyEvent},
    drain::Drain,
    embedded::{Embedded, EmbeddedConfig},
    queue::{
        Advance, Advanced, Cursor, DeadLetter, DeadLetters, Depth, EmbeddedQueue, Enqueued, Intake, JobId,
        JobKind, Lease, LeaseError, Nack, NewJob, Queue, QueueConfig, QueueError, Repeat, Schedule, Work,
    },
    secret::Secret,
    store::EmbeddedStore,
    time::{Clock, SystemClock, Timestamp},
};
use livos_integrations::{
    sender::{DeliverConfig, Outbox, deliver},
    telegram::{Bot, IncomingMessage, Poller, PollerConfig, TelegramConfig, TelegramOutlet, update},
};
use tower::{BoxError, ServiceExt};

/// The step at which it stands still.
static STOP: std::sync::OnceLock<(String, u32)> = std::sync::OnceLock::new();
static SEEN: AtomicU32 = AtomicU32::new(0);

fn fact(step: &str, more: impl std::fmt::Display) {
    println!("{step} {more}");
    if let Some((stop, times)) = STOP.get()
        && stop == step
        && SEEN.fetch_add(1, Ordering::SeqCst) + 1 == *times
    {
        println!("here");
        // Everything runs on this one thread.
        loop {
            std::thread::park();
        }
    }
}

#[derive(Clone)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, file, seconds, stop @ ..] = &arguments[..] else {
        return Err("usage: telegram_under_kill URL FILE SECONDS [STEP N]".into());
    };
    if let [step, times] = stop {
        let _ = STOP.set((step.clone(), times.parse()?));
    }
    let clock = Ahead(Duration::from_secs(seconds.parse()?));
    let file = Embedded::open(file, EmbeddedConfig::default())?;
    let queue: Arc<dyn Queue> = Arc::new(Told(EmbeddedQueue::new(file.clone(), QueueConfig::default())));
    let store = Arc::new(EmbeddedStore::new(file));
    let bot = bot(url)?;
    let outbox = Outbox::new(Arc::<EmbeddedStore>::clone(&store), clock.clone());
    let drain = Drain::new();
    let signal = drain.signal();
    let poller = Poller::new(bot.clone(), Arc::clone(&queue), store, clock.clone(), PollerConfig::default())?;
    tokio::select! {
        ended = poller.run(signal) => Ok(ended?),
        ended = work(bot, queue, outbox, clock) => ended,
    }
}

fn bot(url: &str) -> Result<Bot, BoxError> {
    let mut config = TelegramConfig::new(Secret::new("4242:AbCdEfGhIjKlMnOpQrStUvWxYz_0123456"));
    config.base_url = url.parse()?;
    let http = livos_core::http::HttpClient::over_tls()?;
    let told = tower::service_fn(move |request: http::Request<Bytes>| {
        let (before, after) = match request.uri().path().rsplit('/').next() {
            Some("getUpdates") => ("polling", "polled"),
            Some("sendMessage") => ("sending", "sent"),
            _ => ("asking", "asked"),
        };
        let http = http.clone();
        async move {
            fact(before, "");
            let response = http.oneshot(request).await;
            fact(after, "");
            response
        }
    });
    Ok(Bot::new(config, livos_core::http::HttpClient::new(told))?)
}

async fn work(bot: Bot, queue: Arc<dyn Queue>, outbox: Outbox, clock: Ahead) -> Result<(), BoxError> {
    let me = bot.me().await?;
    let mut news = queue.listen();
    loop {
        let Some(lease) = queue.lease(clock.now(), &[], Duration::from_secs(20)).await? else {
            news.wait(Duration::from_millis(5)).await;
            continue;
        };
        let said = IncomingMessage::of(&update(&lease.payload)?, &me).ok_or("nobody said anything")?;
        fact("leased", format_args!("{} {}", said.update, lease.id));
        let outlet = TelegramOutlet::answering(bot.clone(), &said);
        let answer = format!("answer to {}", said.text);
        let name = format!("telegram/{}", said.update);
        let reply = || async {
            let events =
                [Ok::<_, ReplyError>(ReplyEvent::Text(answer)), Ok(ReplyEvent::Finished(Finish::Complete))];
            Ok::<_, ReplyError>(Reply::new(stream::iter(events), ()))
        };
        deliver(&outlet, &outbox, &name, DeliverConfig::default(), reply).await?;
        fact("acking", said.update);
        queue.ack(clock.now(), lease).await?;
        fact("acked", said.update);
    }
}

/// A queue that tells when the offset moves.
struct Told(EmbeddedQueue);

#[async_trait]
impl Intake for Told {
    async fn enqueue(&self, now: Timestamp, job: NewJob) -> Result<Enqueued, QueueError> {
        self.0.enqueue(now, job).await
    }

    async fn advance(&self, now: Timestamp, advance: Advance) -> Result<Advanced, QueueError> {
        fact("advancing", advance.steps.len());
        let advanced = self.0.advance(now, advance).await;
        fact("advanced", "");
        advanced
    }

    async fn cursor(&self, name: &str) -> Result<Option<Cursor>, QueueError> {
        self.0.cursor(name).await
    }

    async fn depth(&self) -> Result<Depth, QueueError> {
        self.0.depth().await
    }
}

#[async_trait]
impl Work for Told {
    async fn lease(
        &self,
        now: Timestamp,
        kinds: &[JobKind],
        visibility: Duration,
    ) -> Result<Option<Lease>, QueueError> {
        self.0.lease(now, kinds, visibility).await
    }

    async fn extend(&self, now: Timestamp, lease: Lease, by: Duration) -> Result<Lease, LeaseError> {
        self.0.extend(now, lease, by).await
    }

    async fn ack(&self, now: Timestamp, lease: Lease) -> Result<(), LeaseError> {
        self.0.ack(now, lease).await
    }

    async fn nack(&self, now: Timestamp, lease: Lease, how: Nack) -> Result<(), LeaseError> {
        self.0.nack(now, lease, how).await
    }

    async fn tick(&self, now: Timestamp) -> Result<usize, QueueError> {
        self.0.tick(now).await
    }

    async fn next_due(&self, now: Timestamp) -> Result<Option<Timestamp>, QueueError> {
        self.0.next_due(now).await
    }

    fn listen(&self) -> News {
        self.0.listen()
    }
}

#[async_trait]
impl DeadLetters for Told {
    async fn dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        self.0.dead(after, limit).await
    }

    async fn replay(&self, now: Timestamp, id: JobId) -> Result<bool, QueueError> {
        self.0.replay(now, id).await
    }

    async fn discard(&self, id: JobId) -> Result<bool, QueueError> {
        self.0.discard(id).await
    }
}

#[async_trait]
impl Schedule for Told {
    async fn repeat(&self, now: Timestamp, repeat: Repeat) -> Result<(), QueueError> {
        self.0.repeat(now, repeat).await
    }

    async fn unrepeat(&self, name: &str) -> Result<bool, QueueError> {
        self.0.unrepeat(name).await
    }

    async fn repeats(&self) -> Result<Vec<(Repeat, Timestamp)>, QueueError> {
        self.0.repeats().await
    }
}
