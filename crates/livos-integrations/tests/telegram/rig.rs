//! A bot, its queue and its twin, over streams in memory and in virtual time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo},
};
use livos_core::{
    drain::{Drain, DrainSignal},
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Lease, Queue, QueueConfig},
    secret::Secret,
    store::{EmbeddedStore, Store},
    time::{Clock, Timestamp},
};
use livos_integrations::telegram::{Bot, Poller, PollerConfig, TelegramConfig, TelegramError};
use livos_twins::{
    Twin as _,
    telegram::{Config, Telegram},
};
use tokio::{io::DuplexStream, task::JoinHandle};

use crate::steady::{SteadyQueue, SteadyStore};

pub const TOKEN: &str = "4242:AbCdEfGhIjKlMnOpQrStUvWxYz_0123456";

/// The test's own time, which the paused runtime moves.
#[derive(Debug, Clone)]
pub struct Virtual(tokio::time::Instant);

impl Virtual {
    pub fn new() -> Self {
        Self(tokio::time::Instant::now())
    }
}

impl Clock for Virtual {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(1_800_000_000_000).plus(self.0.elapsed())
    }
}

/// A stream in memory as a connection of an HTTP client.
pub struct Memory(TokioIo<DuplexStream>);

impl Connection for Memory {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Memory {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Memory {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A bot whose HTTP client leads to this twin.
pub fn bot(twin: &Telegram) -> Bot {
    bot_with(twin, TOKEN)
}

pub fn bot_with(twin: &Telegram, token: &str) -> Bot {
    let twin = twin.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let stream = twin.connect();
        std::future::ready(Ok::<_, std::io::Error>(Memory(TokioIo::new(stream))))
    });
    let http = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(connector);
    let mut config = TelegramConfig::new(Secret::new(token));
    config.base_url = Uri::from_static("http://twin");
    Bot::new(config, livos_core::http::HttpClient::new(http)).unwrap()
}

/// Everything that one process of a bot has.
pub struct Rig {
    pub twin: Telegram,
    pub bot: Bot,
    pub queue: Arc<dyn Queue>,
    pub store: Arc<dyn Store>,
    pub clock: Virtual,
}

impl Rig {
    pub fn new() -> Self {
        Self::with(Config::default(), QueueConfig::default())
    }

    /// With room for so few jobs.
    pub fn narrow(refuse_at: u64) -> Self {
        let mut queue = QueueConfig::default();
        queue.refuse_at = refuse_at;
        Self::with(Config::default(), queue)
    }

    pub fn with(twin: Config, queue: QueueConfig) -> Self {
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        let twin = Telegram::new(twin);
        Self {
            bot: bot(&twin),
            twin,
            queue: Arc::new(SteadyQueue(Arc::new(EmbeddedQueue::new(file.clone(), queue)))),
            store: Arc::new(SteadyStore(Arc::new(EmbeddedStore::new(file)))),
            clock: Virtual::new(),
        }
    }

    pub fn queue(&self) -> Arc<dyn Queue> {
        Arc::clone(&self.queue)
    }

    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// A poller of this process that runs.
    pub fn poll(&self, config: impl FnOnce(&mut PollerConfig)) -> Running {
        let mut made = PollerConfig::default();
        config(&mut made);
        let poller =
            Poller::new(self.bot.clone(), self.queue(), self.store(), self.clock.clone(), made).unwrap();
        let (poller, drain) = (Arc::new(poller), Drain::new());
        let signal = drain.signal();
        let task = tokio::spawn(run(Arc::clone(&poller), signal));
        Running { poller, drain, task }
    }

    /// The texts of the jobs that are there, oldest first; they are done then.
    pub async fn take(&self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(lease) = self.lease().await {
            let update = livos_integrations::telegram::update(&lease.payload).unwrap();
            let message = update.message.or(update.edited_message);
            texts.push(message.and_then(|message| message.text).unwrap_or_default());
            self.queue.ack(self.clock.now(), lease).await.unwrap();
        }
        texts
    }

    pub async fn lease(&self) -> Option<Lease> {
        self.queue.lease(self.clock.now(), &[], Duration::from_secs(60)).await.unwrap()
    }

    /// Waits for so many jobs, and answers their texts.
    pub async fn jobs(&self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        for _ in 0..PATIENCE {
            texts.extend(self.take().await);
            if texts.len() >= count {
                return texts;
            }
            pass().await;
        }
        panic!("{texts:?} are not {count}; the poller may be stuck");
    }
}

async fn run(poller: Arc<Poller<Virtual>>, drain: DrainSignal) -> Result<(), TelegramError> {
    poller.run(drain).await
}

/// A poller that runs.
pub struct Running {
    pub poller: Arc<Poller<Virtual>>,
    pub drain: Drain,
    pub task: JoinHandle<Result<(), TelegramError>>,
}

impl Running {
    /// Ends it as a person would.
    pub async fn stop(self) -> Result<(), TelegramError> {
        self.drain.begin();
        self.task.await.unwrap()
    }

    /// Ends it as a crash would.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

const PATIENCE: usize = 100_000;

async fn pass() {
    tokio::time::sleep(Duration::from_millis(5)).await;
}

pub async fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..PATIENCE {
        if reached() {
            return;
        }
        pass().await;
    }
    panic!("{what}: it never came to that");
}
