//! The buses against the contract, a mailbox against its law, and a server that dies and comes
//! back.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

#[tokio::test]
async fn the_bus_in_memory_keeps_the_contract() {
    let config = BusConfig::default();
    let bus = MemoryBus::new(config);
    contract::check(Arc::new(bus.clone()), Arc::new(bus), config.backlog).await;
}

#[tokio::test]
async fn as_many_subscriptions_as_may_be_are_open_and_room_comes_back() {
    let bus = MemoryBus::new(BusConfig { subscriptions: 2, ..BusConfig::default() });
    let topic = [Topic::new("test", "room").unwrap()];
    let (one, _two) = (bus.subscribe(&topic).unwrap(), bus.subscribe(&topic).unwrap());
    assert!(matches!(bus.subscribe(&topic), Err(BusError::Full(2))));
    drop(one);
    assert!(bus.subscribe(&topic).is_ok());
}

#[tokio::test]
async fn subscriptions_end_with_their_bus_and_not_before_what_waits_is_read() {
    let bus = MemoryBus::new(BusConfig::default());
    let topic = Topic::new("test", "end").unwrap();
    let mut subscription = bus.subscribe(std::slice::from_ref(&topic)).unwrap();
    bus.publish(&topic, Bytes::from_static(b"last")).await.unwrap();
    let waiting = tokio::spawn(async move {
        let mut events = Vec::new();
        while let Some(event) = subscription.next().await {
            events.push(event);
        }
        events
    });
    tokio::task::yield_now().await;
    drop(bus);
    let last = Event::Message { topic, payload: Bytes::from_static(b"last") };
    assert_eq!(waiting.await.unwrap(), [Event::Resync(Gap::Began), last]);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    Reconnect,
    Read,
}

proptest! {
    /// The law of a mailbox: a subscriber that reads the state at each resync knows every message
    /// in the end, and never goes back.
    #[test]
    fn no_message_is_lost_in_silence(
        backlog in 1..5usize,
        begin in 0..10usize,
        steps in proptest::collection::vec(
            prop_oneof![3 => Just(Step::Send), 1 => Just(Step::Reconnect), 2 => Just(Step::Read)],
            0..80,
        ),
    ) {
        let topic = Topic::new("test", "law").unwrap();
        let (feed, mut subscription) = channel(backlog);
        // What was published so far, and what the subscriber knows.
        let (mut state, mut known, mut silent) = (0u64, None::<u64>, true);
        let read = |subscription: &mut Subscription, state: u64, known: &mut Option<u64>| match subscription.try_next() {
            Some(Event::Resync(_)) => {
                *known = Some(state);
                Ok(true)
            }
            Some(Event::Message { payload, .. }) => {
                let number: u64 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                // One that was published before the state was read may still come: it was sent
                // after the gap, and is in the state.
                prop_assert!(number <= known.unwrap() + 1, "{number} after {known:?}");
                *known = Some(known.unwrap().max(number));
                Ok(true)
            }
            None => Ok(false),
        };
        for (n, step) in steps.into_iter().enumerate() {
            if n == begin {
                feed.begin();
                silent = false;
            }
            match step {
                Step::Send => {
                    state += 1;
                    feed.send(&topic, &Bytes::from(state.to_string()));
                }
                Step::Reconnect => feed.resync(Gap::Reconnected),
                Step::Read => {
                    let something = read(&mut subscription, state, &mut known)?;
                    prop_assert!(!(silent && something), "nothing comes before it has begun");
                }
            }
        }
        feed.begin();
        let mut left = 0;
        while read(&mut subscription, state, &mut known)? {
            left += 1;
        }
        prop_assert!(left <= backlog + 1, "{left} waited in a backlog of {backlog}");
        prop_assert_eq!(known, Some(state));
    }
}

#[cfg(feature = "redis")]
mod redis {
    use std::{path::Path, time::Duration};

    use super::*;
    use crate::{
        backoff::BackoffConfig,
        drain::{Drain, DrainSignal},
        redis::{Redis, RedisConfig},
        secret::Secret,
        store::{EmbeddedStore, Family, Lifetime, Store, contract::START},
        supervise::Supervisor,
        testing::RedisServer,
    };

    /// Impatient, so that no test waits.
    fn bus(url: Secret, backlog: usize) -> RedisBus {
        let mut server = RedisConfig::new(url);
        server.response_timeout = Duration::from_millis(250);
        server.connect_timeout = Duration::from_millis(100);
        let mut config = RedisBusConfig::default();
        config.bus.backlog = backlog;
        config.probe = Duration::from_millis(50);
        config.reconnect.backoff = BackoffConfig {
            first: Duration::from_millis(5),
            longest: Duration::from_millis(50),
            ..BackoffConfig::default()
        };
        RedisBus::new(Redis::new(server).unwrap(), config)
    }

    /// A process of its own, as far as the server can see.
    fn run(supervisor: &Supervisor, signal: &DrainSignal, url: Secret, backlog: usize) -> RedisBus {
        let bus = bus(url, backlog);
        let (listener, stop) = (bus.clone(), signal.clone());
        supervisor.spawn("bus", async move { listener.run(stop).await });
        bus
    }

    fn server(folder: &Path) -> RedisServer {
        RedisServer::start(folder, &[])
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_bus_in_redis_keeps_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path());
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let [here, there] = [(); 2].map(|()| run(&supervisor, &signal, server.url(), 32));
        contract::check(Arc::new(here.clone()), Arc::new(there), 32).await;
        assert!(here.is_connected());
        drain.begin();
        assert!(supervisor.shut_down(Duration::from_secs(5)).await.is_empty(), "a drain ends the listening");
        assert!(!here.is_connected());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_subscription_made_while_the_server_is_away_begins_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let mut server = server(folder.path());
        server.kill();
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let bus = run(&supervisor, &signal, server.url(), 32);
        let topic = Topic::new("test", "away").unwrap();
        let mut subscription = bus.subscribe(std::slice::from_ref(&topic)).unwrap();
        let error = bus.publish(&topic, Bytes::new()).await.unwrap_err();
        assert!(error.is_temporary(), "{error:?}");
        assert!(!bus.is_connected());
        assert_eq!(subscription.try_next(), None);
        server.restart();
        assert_eq!(subscription.next().await, Some(Event::Resync(Gap::Began)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_server_that_stands_still_is_noticed_and_its_return_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path());
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let bus = run(&supervisor, &signal, server.url(), 32);
        let topic = Topic::new("test", "still").unwrap();
        let mut subscription = bus.subscribe(std::slice::from_ref(&topic)).unwrap();
        assert_eq!(subscription.next().await, Some(Event::Resync(Gap::Began)));
        server.pause();
        while bus.is_connected() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        server.resume();
        assert_eq!(subscription.next().await, Some(Event::Resync(Gap::Reconnected)));
        bus.publish(&topic, Bytes::from_static(b"again")).await.unwrap();
        let again = Event::Message { topic, payload: Bytes::from_static(b"again") };
        assert_eq!(subscription.next().await, Some(again));
    }

    /// A process changes the state and tells of it; another keeps a copy by what it is told. The
    /// server is killed and restarted under both.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_reads_the_state_at_each_resync_is_right_whatever_the_server_loses() {
        const TURNS: u64 = 4;
        const COUNT: Family =
            Family::new("test", "count", Lifetime::Forever { reason: "a test" }, "the state");
        let folder = tempfile::tempdir().unwrap();
        let mut server = server(folder.path());
        let (supervisor, drain) = (Supervisor::new(), Drain::new());
        let signal = drain.signal();
        let [teller, listener] = [(); 2].map(|()| run(&supervisor, &signal, server.url(), 8));
        let file = crate::embedded::Embedded::in_memory(crate::embedded::EmbeddedConfig::default()).unwrap();
        let (store, key) = (Arc::new(EmbeddedStore::new(file)), COUNT.key("n").unwrap());
        let topic = Topic::new("test", "count").unwrap();
        let mut subscription = listener.subscribe(std::slice::from_ref(&topic)).unwrap();
        let (copy, mut copied) = tokio::sync::watch::channel((0i64, 0u64));
        let state = Arc::clone(&store);
        let name = key.clone();
        supervisor.spawn("copy", async move {
            while let Some(event) = subscription.next().await {
                match event {
                    Event::Resync(_) => {
                        let now = state.counters(START, &name).await.unwrap();
                        let now = now.first().map_or(0, |(_, value)| *value);
                        copy.send_modify(|(known, resyncs)| {
                            (*known, *resyncs) = ((*known).max(now), *resyncs + 1);
                        });
                    }
                    Event::Message { payload, .. } => {
                        let told: i64 = std::str::from_utf8(&payload).unwrap().parse().unwrap();
                        copy.send_modify(|(known, _)| *known = (*known).max(told));
                    }
                }
            }
        });
        copied.wait_for(|(_, resyncs)| *resyncs == 1).await.unwrap();
        let mut lost = 0;
        for turn in 1..=TURNS {
            for step in 0..30 {
                if step == 10 {
                    server.kill();
                }
                if step == 15 {
                    server.restart();
                }
                let value = store.add(START, &key, "n", 1).await.unwrap();
                let told = Bytes::from(value.to_string());
                while teller.publish(&topic, told.clone()).await.is_err() {
                    lost += 1;
                    // Who tells nothing more tells the last again: nobody else would.
                    if step < 29 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
            let value = i64::try_from(turn * 30).unwrap();
            let mut seen = (0, 0);
            let right = copied.wait_for(|copy| {
                seen = *copy;
                seen.0 == value && seen.1 > turn
            });
            let right = tokio::time::timeout(Duration::from_secs(20), right).await.is_ok();
            assert!(right, "turn {turn}: {seen:?} instead of {value}");
        }
        assert!(lost >= 5 * u32::try_from(TURNS).unwrap(), "{lost} events could not even be sent");
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_server_is_told_without_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let server = server(folder.path());
        let open = Redis::new(RedisConfig::new(server.url())).unwrap();
        let mut protect = ::redis::cmd("CONFIG");
        protect.arg("SET").arg("requirepass").arg("right-password");
        let _: () = open.query(&protect).await.unwrap();
        let url = server.url().expose().replace("redis://", "redis://:wrong-password@");
        let redis = Redis::new(RedisConfig::new(Secret::new(url))).unwrap();
        let error = redis.subscriber().await.map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), crate::redis::RedisErrorKind::Refused, "{error}");
        assert!(!error.to_string().contains("wrong-password"), "{error}");
    }
}
