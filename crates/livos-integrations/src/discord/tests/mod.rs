//! The whole client against the twin, in virtual time.

mod gateway;
mod interactions;
mod memory;
mod rest;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use livos_core::{
    conversation::{Finish, Reply, ReplyError, ReplyEvent},
    drain::Drain,
    secret::Secret,
    store::Store,
    time::{Clock, Timestamp},
};
use livos_twins::{Twin, discord as twin};
use tokio::{task::JoinHandle, time::Instant};
use tower::{BoxError, Service, service_fn};

use self::memory::{MemoryQueue, MemoryStore};
use super::{DiscordOutlet, Event, ListenError, Listener, ListenerConfig, Rest, RestConfig};
use crate::sender::{DeliverConfig, DeliverError, Outbox, deliver};

/// 24 November 2026, 07:00 UTC.
const NOW_MS: i64 = 1_795_503_600_000;

/// The wall clock, which goes with the runtime's.
#[derive(Debug, Clone, Copy)]
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_ms(NOW_MS).plus(self.0.elapsed())
    }
}

/// A twin, and what a bot keeps between its processes.
struct House {
    twin: twin::Discord,
    queue: Arc<MemoryQueue>,
    store: Arc<MemoryStore>,
    clock: VirtualClock,
    config: ListenerConfig,
}

/// A listener that runs.
struct Running {
    drain: Drain,
    task: JoinHandle<Result<(), ListenError>>,
}

impl Running {
    async fn stop(self) -> Result<(), ListenError> {
        self.drain.begin();
        self.task.await.unwrap()
    }

    /// Ends it as a kill would.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
        settle().await;
    }
}

impl House {
    fn new() -> Self {
        Self::with(twin::Config::default())
    }

    fn with(config: twin::Config) -> Self {
        let now_ms = u64::try_from(NOW_MS).unwrap();
        let twin = twin::Discord::new(twin::Config { now_ms, ..config });
        Self {
            twin,
            queue: Arc::default(),
            store: Arc::default(),
            clock: VirtualClock(Instant::now()),
            config: ListenerConfig { url: "ws://discord.test".into(), ..ListenerConfig::default() },
        }
    }

    fn rest(&self) -> Rest {
        self.rest_with(|_| ())
    }

    fn rest_with(&self, change: impl FnOnce(&mut RestConfig)) -> Rest {
        let mut config = RestConfig::new(Secret::new("bot-token"));
        config.base_url = Uri::from_static("http://discord.test/api/v10");
        config.file_hosts = vec!["discord.test".into()];
        change(&mut config);
        Rest::new(config, livos_core::http::HttpClient::new(http(&self.twin))).unwrap()
    }

    fn listener(&self) -> Listener<VirtualClock> {
        let twin = self.twin.clone();
        let connector = service_fn(move |_: Uri| {
            let io = twin.connect();
            async move { Ok::<_, BoxError>(io) }
        });
        let (queue, store) = (Arc::clone(&self.queue), Arc::clone(&self.store));
        Listener::new(self.config.clone(), connector, self.rest(), queue, store, self.clock)
    }

    fn start(&self) -> Running {
        let drain = Drain::new();
        let signal = drain.signal();
        Running { drain, task: tokio::spawn(self.listener().run(signal)) }
    }

    /// Connected, and past the first heartbeat.
    async fn started(&self) -> Running {
        let running = self.start();
        self.until("a session", || self.twin.connected_sessions() == 1).await;
        settle().await;
        running
    }

    /// Waits for something, at most for ten minutes.
    async fn until(&self, what: &str, done: impl Fn() -> bool) {
        for _ in 0..6000 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{what} did not come: {:?} {:?}", self.twin.stats(), self.texts());
    }

    /// The texts of the jobs, in order.
    fn texts(&self) -> Vec<String> {
        let text = |event: Event| match event {
            Event::Message(message) => message.text,
            Event::Interaction(interaction) => interaction.text(),
        };
        self.queue.payloads().iter().map(|payload| text(Event::from_bytes(payload).unwrap())).collect()
    }

    async fn until_texts(&self, texts: &[&str]) {
        self.until("a job", || self.texts().len() >= texts.len()).await;
        settle().await;
        assert_eq!(self.texts(), texts);
    }

    /// Delivers an answer that an agent says in these pieces, one every so often.
    async fn answer_slowly(
        &self,
        event: &Event,
        pieces: &[&str],
        every: Duration,
    ) -> Result<(), DeliverError> {
        let outlet = DiscordOutlet::answering(self.rest(), self.clock, event);
        let outbox = Outbox::new(Arc::clone(&self.store) as Arc<dyn Store>, self.clock);
        let events: Vec<ReplyEvent> = pieces
            .iter()
            .map(|piece| ReplyEvent::Text((*piece).to_owned()))
            .chain([ReplyEvent::Finished(Finish::Complete)])
            .collect();
        let events = stream::iter(events).then(move |event| async move {
            tokio::time::sleep(every).await;
            Ok(event)
        });
        let ask = || async { Ok::<_, ReplyError>(Reply::new(events, ())) };
        deliver(&outlet, &outbox, &event.dedupe_key(), DeliverConfig::default(), ask).await
    }

    async fn answer(&self, event: &Event, text: &str) -> Result<(), DeliverError> {
        self.answer_slowly(event, &[text], Duration::ZERO).await
    }

    fn anna(&self, text: &str) -> u64 {
        self.twin.say(self.twin.direct_channel(twin::ANNA), twin::ANNA, text)
    }
}

/// Lets everything happen that needs no time.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// A client that makes a connection for each request.
fn http(
    twin: &twin::Discord,
) -> impl Service<Request<Full<Bytes>>, Response = Response<hyper::body::Incoming>, Error = BoxError, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let twin = twin.clone();
    service_fn(move |request: Request<Full<Bytes>>| {
        let io = TokioIo::new(twin.connect());
        async move {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            let (mut parts, body) = request.into_parts();
            let host = parts.uri.authority().ok_or("an address")?.as_str().parse()?;
            parts.headers.insert("host", host);
            parts.uri = parts.uri.path_and_query().ok_or("an address")?.as_str().parse()?;
            Ok(sender.send_request(Request::from_parts(parts, body)).await?)
        }
    })
}
