//! What every backend of the store must do. The tests of each backend run it: those of this crate
//! and those of third parties.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // It is a test, for others to call.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{Entry, Family, Key, Lifetime, MAX_VALUE, Put, Store, StoreError};
use crate::time::Timestamp;

const MINUTE: Family =
    Family::new("contract", "minute", Lifetime::For(Duration::from_secs(60)), "values of the contract");
const EVER: Family =
    Family::new("contract", "ever", Lifetime::Forever { reason: "the contract says so" }, "values that stay");

/// The present of the contract. Backends that keep their own time must not be asked to expire
/// anything by it.
pub const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn key(id: &str) -> Key {
    MINUTE.key(id).expect("a valid id")
}

/// Runs an empty store through the contract. Panics if it is broken.
pub async fn check(store: Arc<dyn Store>) {
    values(&*store).await;
    conditions(&*store).await;
    lifetimes(&*store).await;
    counting(&*store).await;
    scanning(&*store).await;
    bounds(&*store).await;
    contention(store).await;
}

async fn values(store: &dyn Store) {
    let name = key("values");
    assert_eq!(store.get(START, &name).await.expect("get"), None);
    assert_eq!(store.put(START, &name, Bytes::from_static(b"\0one")).await.expect("put"), 1);
    assert_eq!(store.put(START, &name, Bytes::new()).await.expect("put"), 2);
    let entry = Entry { value: Bytes::new(), version: 2 };
    assert_eq!(store.get(START, &name).await.expect("get"), Some(entry), "an empty value is a value");
    assert!(store.remove(START, &name).await.expect("remove"));
    assert!(!store.remove(START, &name).await.expect("remove"), "nothing is removed twice");
    assert_eq!(store.put(START, &name, Bytes::new()).await.expect("put"), 1, "a new value begins at 1");
}

async fn conditions(store: &dyn Store) {
    let name = key("conditions");
    let put = |value: &'static [u8], version| store.put_if(START, &name, Bytes::from_static(value), version);
    assert_eq!(put(b"a", Some(1)).await.expect("put_if"), Put::Conflict(None));
    assert_eq!(put(b"a", None).await.expect("put_if"), Put::Written(1));
    assert_eq!(put(b"b", None).await.expect("put_if"), Put::Conflict(Some(1)));
    assert_eq!(put(b"b", Some(1)).await.expect("put_if"), Put::Written(2));
    assert_eq!(put(b"c", Some(1)).await.expect("put_if"), Put::Conflict(Some(2)));
    let stored = store.get(START, &name).await.expect("get").expect("a value");
    assert_eq!(stored.value, "b", "a conflict writes nothing");
}

async fn lifetimes(store: &dyn Store) {
    let (mortal, immortal) = (key("mortal"), EVER.key("immortal").expect("a valid id"));
    for name in [&mortal, &immortal] {
        store.put(START, name, Bytes::from_static(b"x")).await.expect("put");
    }
    assert!(store.get(at(59), &mortal).await.expect("get").is_some());
    assert!(store.get(at(60), &mortal).await.expect("get").is_none(), "gone at its expiry");
    assert!(store.get(at(1_000_000), &immortal).await.expect("get").is_some());
    store.put(at(50), &mortal, Bytes::from_static(b"y")).await.expect("put");
    assert!(store.get(at(109), &mortal).await.expect("get").is_some(), "a write renews it");
    assert_eq!(
        store.put_if(at(110), &mortal, Bytes::from_static(b"z"), Some(2)).await.expect("put_if"),
        Put::Conflict(None),
        "what is gone has no version"
    );
    assert!(!store.remove(at(110), &mortal).await.expect("remove"), "what is gone can't be removed");
    assert!(store.remove(at(110), &immortal).await.expect("remove"));
}

async fn counting(store: &dyn Store) {
    let name = key("counting");
    let add = |field: &'static str, delta| store.add(START, &name, field, delta);
    assert_eq!(add("b", 5).await.expect("add"), 5);
    assert_eq!(add("a", -2).await.expect("add"), -2);
    assert_eq!(add("b", 1).await.expect("add"), 6);
    assert_eq!(add("", 9).await.expect("add"), 9, "a field may be empty");
    let expected = [(String::new(), 9), ("a".to_owned(), -2), ("b".to_owned(), 6)];
    assert_eq!(store.counters(START, &name).await.expect("counters"), expected);
    add("a", i64::MAX).await.expect("add");
    assert_eq!(add("a", i64::MAX).await.expect("add"), i64::MAX, "a counter does not wrap");
    assert_eq!(store.get(START, &name).await.expect("get"), None, "counters are no value");
    let several = [("b".to_owned(), 4), ("c".to_owned(), -1), ("b".to_owned(), 1)];
    let after = store.add_all(START, &name, &several).await.expect("add_all");
    assert_eq!(after, [10, -1, 11], "several at one time, in order");
    let too_long = [("f".repeat(513), 1), ("c".to_owned(), 1)];
    assert!(store.add_all(START, &name, &too_long).await.is_err());
    assert_eq!(store.add(START, &name, "c", 0).await.expect("add"), -1, "none of them was added");
    assert_eq!(store.add(at(60), &name, "b", 1).await.expect("add"), 1, "they expire all at once");
    assert_eq!(store.counters(at(60), &name).await.expect("counters"), [("b".to_owned(), 1)]);
    assert!(store.remove(at(60), &name).await.expect("remove"));
    assert_eq!(store.counters(at(60), &name).await.expect("counters"), []);
}

async fn scanning(store: &dyn Store) {
    for id in ["scan/b", "scan/a", "scan/c", "scan"] {
        store.put(START, &key(id), Bytes::from_static(b"x")).await.expect("put");
    }
    store.add(START, &key("scan/b"), "n", 1).await.expect("add");
    store.add(START, &key("scan/bb"), "n", 1).await.expect("add");
    let prefix = format!("{}scan/", MINUTE.prefix());
    let page = |after: Option<String>, now, limit| {
        let prefix = prefix.clone();
        async move {
            let found = store.scan(now, &prefix, after.as_deref(), limit).await.expect("scan");
            found.into_iter().map(|found| found.key).collect::<Vec<_>>()
        }
    };
    let full: Vec<String> = ["a", "b", "bb", "c"].iter().map(|id| format!("{prefix}{id}")).collect();
    assert_eq!(page(None, START, 10).await, full, "each key once, in order");
    assert_eq!(page(None, START, 2).await, full[..2]);
    assert_eq!(page(Some(full[1].clone()), START, 10).await, full[2..]);
    assert_eq!(page(None, at(60), 10).await, Vec::<String>::new(), "what expired is not found");
    let found = store.scan(START, &prefix, None, 1).await.expect("scan");
    assert_eq!(found[0].expires, Some(at(60)));
}

async fn bounds(store: &dyn Store) {
    let name = key("bounds");
    let large = Bytes::from(vec![7; MAX_VALUE]);
    store.put(START, &name, large.clone()).await.expect("the longest value");
    assert_eq!(store.get(START, &name).await.expect("get").expect("a value").value, large);
    let larger = store.put(START, &name, Bytes::from(vec![7; MAX_VALUE + 1])).await;
    assert!(matches!(larger, Err(StoreError::TooLarge { .. })), "{larger:?}");
    assert!(store.add(START, &name, &"f".repeat(513), 1).await.is_err());
    store.remove(START, &name).await.expect("remove");
}

/// Many callers count and decide at the same time; nothing is lost and nothing is decided twice.
async fn contention(store: Arc<dyn Store>) {
    const CALLERS: i64 = 16;
    let (counter, decision) = (key("contention/counter"), key("contention/decision"));
    let calls = (0..CALLERS).map(|caller| {
        let (store, counter, decision) = (Arc::clone(&store), counter.clone(), decision.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                store.add(START, &counter, "n", 1).await.expect("add");
            }
            let value = Bytes::from(caller.to_string());
            store.put_if(START, &decision, value, None).await.expect("put_if") == Put::Written(1)
        })
    });
    let mut winners = 0;
    for call in calls.collect::<Vec<_>>() {
        winners += i32::from(call.await.expect("a caller"));
    }
    assert_eq!(winners, 1);
    assert_eq!(store.counters(START, &counter).await.expect("counters"), [("n".to_owned(), CALLERS * 10)]);
}
