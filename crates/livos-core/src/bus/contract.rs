//! What every bus must do. A bus is run through it by its own tests: those here, and those of third
//! parties.

#![allow(clippy::expect_used, clippy::panic, clippy::missing_panics_doc)] // It is a test, for others to call.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Bus, BusError, Event, Gap, MAX_PAYLOAD, Subscription, Topic};

/// Nothing here takes this long; what does has failed.
const PATIENCE: Duration = Duration::from_secs(20);

fn topic(name: &str) -> Topic {
    Topic::new("contract", name).expect("a topic")
}

/// Runs two ends of one bus, as two processes would hold them, through the contract; both may be
/// the same. `backlog` is how many messages wait for a subscriber of either. Panics where it is
/// broken.
pub async fn check(here: Arc<dyn Bus>, there: Arc<dyn Bus>, backlog: usize) {
    a_beginning(&*here, &*there).await;
    topics(&*here, &*there, backlog).await;
    everybody(&*here, &*there).await;
    slowness(&*here, &*there, backlog).await;
    bounds(&*here).await;
}

async fn next(subscription: &mut Subscription) -> Event {
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await;
    next.expect("an event in time").expect("a bus that lives")
}

async fn message(subscription: &mut Subscription) -> (Topic, Bytes) {
    match next(subscription).await {
        Event::Message { topic, payload } => (topic, payload),
        Event::Resync(gap) => panic!("nothing was lost, but {gap:?}"),
    }
}

/// A subscription that hears everything from now on.
async fn begun(bus: &dyn Bus, topics: &[Topic]) -> Subscription {
    let mut subscription = bus.subscribe(topics).expect("a subscription");
    assert_eq!(next(&mut subscription).await, Event::Resync(Gap::Began), "it begins with reading the state");
    subscription
}

async fn a_beginning(here: &dyn Bus, there: &dyn Bus) {
    let name = topic("beginning");
    here.publish(&name, Bytes::from_static(b"nobody listens")).await.expect("publish");
    let mut subscription = begun(there, std::slice::from_ref(&name)).await;
    for payload in [b"".as_slice(), b"\0\r\n\xff", b"text"] {
        here.publish(&name, Bytes::from_static(payload)).await.expect("publish");
        assert_eq!(message(&mut subscription).await, (name.clone(), Bytes::from_static(payload)));
    }
    assert_eq!(subscription.try_next(), None);
}

async fn topics(here: &dyn Bus, there: &dyn Bus, backlog: usize) {
    let (a, b) = (topic("topics"), topic("other"));
    let one = a.of("1").expect("a topic");
    let mut only = begun(there, std::slice::from_ref(&a)).await;
    // Named twice, heard once.
    let mut both = begun(there, &[b.clone(), one.clone(), b.clone()]).await;
    // As many as may wait: of two topics half as many each.
    let numbers = 0..u8::try_from((backlog / 2).min(200)).expect("a small number");
    for n in numbers.clone() {
        for name in [&a, &b, &one] {
            here.publish(name, Bytes::copy_from_slice(&[n])).await.expect("publish");
        }
    }
    for n in numbers {
        assert_eq!(message(&mut only).await, (a.clone(), Bytes::copy_from_slice(&[n])), "in order");
        assert_eq!(message(&mut both).await, (b.clone(), Bytes::copy_from_slice(&[n])));
        assert_eq!(message(&mut both).await, (one.clone(), Bytes::copy_from_slice(&[n])));
    }
}

async fn everybody(here: &dyn Bus, there: &dyn Bus) {
    let name = [topic("everybody")];
    let dropped = begun(here, &name).await;
    let mut all = [begun(here, &name).await, begun(there, &name).await, begun(there, &name).await];
    drop(dropped);
    here.publish(&name[0], Bytes::from_static(b"x")).await.expect("publish");
    for subscription in &mut all {
        assert_eq!(message(subscription).await.1, "x", "a publisher hears its own messages");
    }
    let [mut own, other, _] = all;
    drop(other);
    here.publish(&name[0], Bytes::from_static(b"y")).await.expect("publish");
    assert_eq!(message(&mut own).await.1, "y", "one that leaves takes nobody along");
}

async fn slowness(here: &dyn Bus, there: &dyn Bus, backlog: usize) {
    let (name, end) = (topic("slowness"), topic("end"));
    let mut slow = begun(there, std::slice::from_ref(&name)).await;
    let mut quick = begun(there, &[name.clone(), end.clone()]).await;
    let total = backlog * 2 + 7;
    let number = |n: usize| Bytes::from(n.to_string());
    for n in 0..total {
        here.publish(&name, number(n)).await.expect("the publisher does not wait");
        assert_eq!(message(&mut quick).await, (name.clone(), number(n)), "who is quick misses nothing");
    }
    here.publish(&end, Bytes::new()).await.expect("publish");
    assert_eq!(message(&mut quick).await.0, end);
    let Event::Resync(Gap::Lagged(lost)) = next(&mut slow).await else { panic!("it was lost in silence") };
    let lost = usize::try_from(lost).expect("a small number");
    assert!(lost > 0 && lost <= total, "{lost} of {total}");
    for n in lost..total {
        assert_eq!(message(&mut slow).await.1, number(n), "what comes after a gap is the newest, in order");
    }
    here.publish(&name, Bytes::from_static(b"after")).await.expect("publish");
    assert_eq!(message(&mut slow).await.1, "after", "one that was slow may be quick again");
}

async fn bounds(bus: &dyn Bus) {
    let name = topic("bounds");
    let mut subscription = begun(bus, std::slice::from_ref(&name)).await;
    let large = Bytes::from(vec![7; MAX_PAYLOAD + 1]);
    assert!(matches!(bus.publish(&name, large.clone()).await, Err(BusError::TooLarge(_))));
    bus.publish(&name, large.slice(1..)).await.expect("the longest payload");
    assert_eq!(message(&mut subscription).await.1.len(), MAX_PAYLOAD);
    assert!(matches!(bus.subscribe(&[]), Err(BusError::NoTopic)));
}
