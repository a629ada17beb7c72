//! The backends against the contract, and the janitor.

#[cfg(feature = "redis")]
mod in_redis;
mod model;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::embedded::{Embedded, EmbeddedConfig};

fn in_memory() -> EmbeddedStore {
    EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_memory_keeps_the_contract() {
    contract::check(Arc::new(in_memory())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_a_file_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let file = Embedded::open(folder.path().join("livos.redb"), EmbeddedConfig::default()).unwrap();
    contract::check(Arc::new(EmbeddedStore::new(file))).await;
}

const HOUR: Family = Family::new("test", "hour", Lifetime::For(Duration::from_secs(3600)), "a test");
const EVER: Family = Family::new("test", "ever", Lifetime::Forever { reason: "a test" }, "a test");
/// Of a family that nobody declared any more.
const LOST: Family = Family::new("test", "lost", Lifetime::Forever { reason: "a test" }, "a test");

#[tokio::test]
async fn the_janitor_frees_what_expired_and_names_what_never_will() {
    let (store, start) = (in_memory(), contract::START);
    for n in 0..1200 {
        let family = if n % 2 == 0 { HOUR } else { EVER };
        store.put(start, &family.key(&n.to_string()).unwrap(), Bytes::new()).await.unwrap();
    }
    store.put(start, &LOST.key("x").unwrap(), Bytes::new()).await.unwrap();
    store.add(start, &LOST.key("y").unwrap(), "n", 1).await.unwrap();
    let report = sweep(&store, start, &[HOUR, EVER]).await.unwrap();
    assert_eq!((report.keys, report.freed, report.immortal_total), (1202, 0, 2));
    assert_eq!(report.immortal, ["livos:test:lost:x", "livos:test:lost:y"]);
    let report = sweep(&store, start.plus(Duration::from_secs(3600)), &[HOUR, EVER]).await.unwrap();
    assert_eq!((report.keys, report.freed, report.immortal_total), (602, 600, 2));
}

#[tokio::test]
async fn a_full_store_takes_no_new_key_until_one_expires() {
    let store = in_memory().with_most(2);
    let key = |id| HOUR.key(id).unwrap();
    for id in ["a", "b"] {
        store.put(contract::START, &key(id), Bytes::new()).await.unwrap();
    }
    let full = store.put(contract::START, &key("c"), Bytes::new()).await;
    assert!(matches!(full, Err(StoreError::Full(2))), "{full:?}");
    assert!(store.add(contract::START, &key("c"), "n", 1).await.is_err());
    store.put(contract::START, &key("a"), Bytes::from_static(b"known keys are written")).await.unwrap();
    let later = contract::START.plus(Duration::from_secs(3600));
    assert_eq!(store.put(later, &key("c"), Bytes::new()).await.unwrap(), 1);
}
