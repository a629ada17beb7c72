//! The bus through the publish and subscribe commands of a Redis server.
//!
//! Events go out through the pool. They come in through one connection of the bus's own, on which
//! nothing else is ever asked: a subscribed connection answers no other command. The connection is
//! asked for a sign of life, because one whose server stands still looks like one on which nothing
//! happens.

use std::{
    collections::BTreeSet,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use tokio::{sync::Notify, time::MissedTickBehavior};

use super::{Bus, BusConfig, BusError, Gap, Subscription, Topic, api::check_payload, hub::Hub};
use crate::{
    backoff::BackoffConfig,
    drain::DrainSignal,
    drive::Drive,
    reconnect::{Reconnect, ReconnectConfig, ReconnectInput, ReconnectOutput},
    redis::{Redis, RedisError},
};

/// How a bus listens to its server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RedisBusConfig {
    /// The bounds of the subscribers.
    pub bus: BusConfig,
    /// How the listening connection is kept. At first 250 ms and at most 5 s between two attempts:
    /// an attempt costs a server nothing, and every second of waiting is one in which other
    /// processes' events are not heard.
    pub reconnect: ReconnectConfig,
    /// How often the listening connection is asked whether it lives. 5 s: as long as events may be
    /// missed unnoticed. How long the answer may take is the response timeout of the server's
    /// configuration.
    pub probe: Duration,
}

impl Default for RedisBusConfig {
    fn default() -> Self {
        let backoff = BackoffConfig {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(5),
            ..BackoffConfig::default()
        };
        Self {
            bus: BusConfig::default(),
            reconnect: ReconnectConfig { backoff, ..ReconnectConfig::default() },
            probe: Duration::from_secs(5),
        }
    }
}

impl RedisBusConfig {
    /// Bounds what each subscriber may leave unread.
    #[must_use]
    pub fn with_bus(mut self, bus: BusConfig) -> Self {
        self.bus = bus;
        self
    }

    /// Connects and reconnects like this.
    #[must_use]
    pub fn with_reconnect(mut self, reconnect: ReconnectConfig) -> Self {
        self.reconnect = reconnect;
        self
    }

    /// Asks the listening connection this often whether it lives.
    #[must_use]
    pub fn with_probe(mut self, interval: Duration) -> Self {
        self.probe = interval;
        self
    }
}

/// A [`Bus`] that reaches every process on a Redis server. Cloning shares it.
///
/// Nothing is heard unless somebody runs [`RedisBus::run`]. All databases of a server share their
/// channels, so two deployments need two servers.
#[derive(Clone)]
pub struct RedisBus(Arc<Inner>);

struct Inner {
    redis: Redis,
    hub: Hub,
    config: RedisBusConfig,
    /// Wakes the listener after a new subscription.
    changed: Notify,
    connected: AtomicBool,
    /// Held by the one that listens.
    listening: tokio::sync::Mutex<()>,
}

impl RedisBus {
    /// A bus on this server, which connects when it is run.
    pub fn new(redis: Redis, config: RedisBusConfig) -> Self {
        let hub = Hub::new(config.bus);
        Self(Arc::new(Inner {
            redis,
            hub,
            config,
            changed: Notify::new(),
            connected: AtomicBool::new(false),
            listening: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether it listens to the server at this moment.
    pub fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    /// Listens until the drain, and connects again whenever the connection is lost. Run by one
    /// task; a second waits until the first is gone. Dropping the future closes the connection, and
    /// subscribers hear nothing, and then of a gap, until it is run again.
    pub async fn run(&self, drain: DrainSignal) {
        let _alone = self.0.listening.lock().await;
        let seed = std::process::id().into();
        let mut reconnect = Drive::new(Reconnect::new(self.0.config.reconnect, seed));
        reconnect.input(ReconnectInput::Start);
        loop {
            let output = tokio::select! {
                () = drain.draining() => return,
                output = reconnect.next() => output,
            };
            match output {
                ReconnectOutput::Connect { .. } => {
                    let lost = tokio::select! {
                        () = drain.draining() => return,
                        lost = self.0.connect_and_listen(&mut reconnect) => lost,
                    };
                    tracing::warn!(error = %lost, "the bus does not hear its server");
                    reconnect.input(ReconnectInput::Lost);
                }
                ReconnectOutput::Wait { attempt, delay } => {
                    tracing::debug!(attempt, ?delay, "the bus connects again");
                    metrics::counter!("livos_bus_reconnects_total").increment(1);
                }
                ReconnectOutput::GiveUp => return,
            }
        }
    }
}

async fn next(stream: &mut PubSubStream) -> Option<redis::Msg> {
    std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// Says that the bus listens for as long as it lives.
struct Connected<'a>(&'a AtomicBool);

impl<'a> Connected<'a> {
    fn new(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        metrics::gauge!("livos_bus_connected").set(1.0);
        Self(flag)
    }
}

impl Drop for Connected<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
        metrics::gauge!("livos_bus_connected").set(0.0);
    }
}

impl Inner {
    /// One connection, from its beginning to its loss.
    async fn connect_and_listen(&self, reconnect: &mut Drive<Reconnect>) -> RedisError {
        let opened = async {
            let (mut sink, stream) = PubSub::split(self.redis.subscriber().await?);
            let mut heard = BTreeSet::new();
            self.follow(&mut sink, &mut heard).await?;
            Ok((sink, stream, heard))
        };
        let (sink, stream, heard) = match opened.await {
            Ok(opened) => opened,
            Err(error) => return error,
        };
        reconnect.input(ReconnectInput::Connected);
        // Everything is subscribed by now, and nothing was read yet: what comes from here on is
        // newer than the state that is read now.
        self.hub.resync(Gap::Reconnected);
        self.hub.begin(&heard);
        let _connected = Connected::new(&self.connected);
        tracing::info!(topics = heard.len(), "the bus hears its server");
        match self.listen(sink, stream, heard).await {
            Ok(()) => self.redis.lost("the connection was closed"),
            Err(error) => error,
        }
    }

    /// Delivers what comes, until the connection ends.
    async fn listen(
        &self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        mut heard: BTreeSet<Topic>,
    ) -> Result<(), RedisError> {
        let mut probe = tokio::time::interval(self.config.probe.max(Duration::from_millis(1)));
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = next(&mut stream) => {
                    let Some(message) = message else { return Ok(()) };
                    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
                    self.hub.deliver(message.get_channel_name(), &payload);
                }
                () = self.changed.notified() => {
                    self.follow(&mut sink, &mut heard).await?;
                    self.hub.begin(&heard);
                }
                _ = probe.tick() => {
                    let _: redis::Value = self.redis.within(sink.ping()).await?;
                    self.follow(&mut sink, &mut heard).await?;
                    self.hub.begin(&heard);
                }
            }
        }
    }

    /// Subscribes on the server to what is listened to here, and leaves what nobody listens to any
    /// more.
    async fn follow(&self, sink: &mut PubSubSink, heard: &mut BTreeSet<Topic>) -> Result<(), RedisError> {
        let wanted = self.hub.topics();
        let names = |topics: Vec<&Topic>| topics.into_iter().map(|topic| topic.as_str().to_owned()).collect();
        let new: Vec<String> = names(wanted.difference(heard).collect());
        if !new.is_empty() {
            self.redis.within(sink.subscribe(new)).await?;
        }
        let old: Vec<String> = names(heard.difference(&wanted).collect());
        if !old.is_empty() {
            self.redis.within(sink.unsubscribe(old)).await?;
        }
        *heard = wanted;
        Ok(())
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, topic: &Topic, payload: Bytes) -> Result<(), BusError> {
        check_payload(&payload)?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(topic.as_str()).arg(payload.as_ref());
        let _: i64 = self.0.redis.query(&publish).await?;
        Ok(())
    }

    fn subscribe(&self, topics: &[Topic]) -> Result<Subscription, BusError> {
        let (_, subscription) = self.0.hub.subscribe(topics)?;
        self.0.changed.notify_one();
        Ok(subscription)
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("config", &self.0.config).finish_non_exhaustive()
    }
}
