//! Random histories of a store, against a map that is looked through from the front.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::testing::matrix;
use crate::time::Timestamp;

/// A step of a history.
#[derive(Debug, Clone)]
enum Step {
    Get(usize),
    Put(usize, u8),
    PutIf(usize, u8, Option<u64>),
    Remove(usize),
    Add(usize, usize, i64),
    Counters(usize),
    Scan { after: Option<usize>, limit: usize },
    Collect,
    Pass(u64),
    SetBack(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let delta = prop_oneof![4 => -3..4i64, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    prop_oneof![
        3 => (0..6usize).prop_map(Step::Get),
        3 => (0..6usize, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        3 => (0..6usize, any::<u8>(), prop::option::of(0..4u64))
            .prop_map(|(key, value, version)| Step::PutIf(key, value, version)),
        2 => (0..6usize).prop_map(Step::Remove),
        3 => (0..6usize, 0..2usize, delta).prop_map(|(key, field, delta)| Step::Add(key, field, delta)),
        2 => (0..6usize).prop_map(Step::Counters),
        2 => (prop::option::of(0..6usize), 1..5usize).prop_map(|(after, limit)| Step::Scan { after, limit }),
        1 => Just(Step::Collect),
        3 => (0..50u64).prop_map(Step::Pass),
        1 => (0..30u64).prop_map(Step::SetBack),
    ]
}

const SHORT: Family = Family::new("model", "short", Lifetime::For(Duration::from_secs(60)), "a test");
const LONG: Family = Family::new("model", "long", Lifetime::For(Duration::from_secs(200)), "a test");
const EVER: Family = Family::new("model", "ever", Lifetime::Forever { reason: "a test" }, "a test");
const FIELDS: [&str; 2] = ["", "n"];

fn key(number: usize) -> Key {
    [SHORT, LONG, EVER][number % 3].key(["a", "a b"][number / 3]).unwrap()
}

fn after(now: i64, key: &Key) -> Option<i64> {
    match key.lifetime() {
        Lifetime::For(time) => Some(now + i64::try_from(time.as_secs()).unwrap()),
        Lifetime::Forever { .. } => None,
    }
}

/// Each thing with the second of its expiry; none for never.
type Until<T> = (T, Option<i64>);

#[derive(Default)]
struct Model {
    now: i64,
    values: BTreeMap<String, Until<(u8, u64)>>,
    counters: BTreeMap<String, Until<BTreeMap<String, i64>>>,
}

impl Model {
    fn lives<T>(&self, (_, until): &Until<T>) -> bool {
        until.is_none_or(|until| until > self.now)
    }

    fn value(&self, key: &Key) -> Option<(u8, u64)> {
        self.values.get(key.as_str()).filter(|value| self.lives(value)).map(|(value, _)| *value)
    }

    fn fields(&self, key: &Key) -> BTreeMap<String, i64> {
        let found = self.counters.get(key.as_str()).filter(|counters| self.lives(counters));
        found.map(|(fields, _)| fields.clone()).unwrap_or_default()
    }

    fn put(&mut self, key: &Key, value: u8) -> u64 {
        let version = self.value(key).map_or(0, |(_, version)| version) + 1;
        self.values.insert(key.as_str().to_owned(), ((value, version), after(self.now, key)));
        version
    }

    fn remove(&mut self, key: &Key) -> bool {
        let lived = self.value(key).is_some() || !self.fields(key).is_empty();
        self.values.remove(key.as_str());
        self.counters.remove(key.as_str());
        lived
    }

    fn add(&mut self, key: &Key, field: &str, delta: i64) -> i64 {
        let mut fields = self.fields(key);
        let counter = fields.entry(field.to_owned()).or_default();
        *counter = counter.saturating_add(delta);
        let value = *counter;
        self.counters.insert(key.as_str().to_owned(), (fields, after(self.now, key)));
        value
    }

    fn scan(&self, after: Option<&str>, limit: usize) -> Vec<(String, Option<i64>)> {
        let values =
            self.values.iter().filter(|(_, value)| self.lives(value)).map(|(key, value)| (key, value.1));
        let counters = self.counters.iter().filter(|(_, all)| self.lives(all)).map(|(key, all)| (key, all.1));
        let mut found = BTreeMap::<String, Option<i64>>::new();
        for (key, until) in values.chain(counters) {
            let known = found.entry(key.clone()).or_insert(until);
            *known = known.zip(until).map(|(one, other)| one.max(other));
        }
        found
            .into_iter()
            .filter(|(key, _)| after.is_none_or(|after| key.as_str() > after))
            .take(limit)
            .collect()
    }
}

/// Plays a history to both, and compares every answer.
async fn play(store: &dyn Store, steps: Vec<Step>) {
    let mut model = Model::default();
    let time = |seconds: i64| Timestamp::from_unix_ms(contract::START.unix_ms() + seconds * 1000);
    for (number, step) in steps.into_iter().enumerate() {
        let (now, at) = (time(model.now), format!("step {number}, {step:?}"));
        match step {
            Step::Get(n) => {
                let found = store.get(now, &key(n)).await.unwrap();
                let found = found.map(|entry| (entry.value[0], entry.version));
                assert_eq!(found, model.value(&key(n)), "{at}");
            }
            Step::Put(n, value) => {
                let version = store.put(now, &key(n), Bytes::from(vec![value])).await.unwrap();
                assert_eq!(version, model.put(&key(n), value), "{at}");
            }
            Step::PutIf(n, value, version) => {
                let stands = model.value(&key(n)).map(|(_, version)| version);
                let expected = match stands == version {
                    true => Put::Written(model.put(&key(n), value)),
                    false => Put::Conflict(stands),
                };
                let put = store.put_if(now, &key(n), Bytes::from(vec![value]), version).await.unwrap();
                assert_eq!(put, expected, "{at}");
            }
            Step::Remove(n) => {
                assert_eq!(store.remove(now, &key(n)).await.unwrap(), model.remove(&key(n)), "{at}");
            }
            Step::Add(n, field, delta) => {
                let after = store.add(now, &key(n), FIELDS[field], delta).await.unwrap();
                assert_eq!(after, model.add(&key(n), FIELDS[field], delta), "{at}");
            }
            Step::Counters(n) => {
                let counters = store.counters(now, &key(n)).await.unwrap();
                assert_eq!(counters, model.fields(&key(n)).into_iter().collect::<Vec<_>>(), "{at}");
            }
            Step::Scan { after, limit } => {
                let after = after.map(|n| key(n).as_str().to_owned());
                let found = store.scan(now, "livos:model:", after.as_deref(), limit).await.unwrap();
                let found: Vec<_> = found.into_iter().map(|found| (found.key, found.expires)).collect();
                let expected = model.scan(after.as_deref(), limit).into_iter();
                let expected: Vec<_> = expected.map(|(key, until)| (key, until.map(time))).collect();
                assert_eq!(found, expected, "{at}");
            }
            Step::Collect => {
                store.collect(now, 100).await.unwrap();
                // A clock that is set back later does not bring back what was freed.
                let now = model.now;
                model.values.retain(|_, (_, until)| until.is_none_or(|until| until > now));
                model.counters.retain(|_, (_, until)| until.is_none_or(|until| until > now));
            }
            Step::Pass(seconds) => model.now += i64::try_from(seconds).unwrap(),
            Step::SetBack(seconds) => model.now -= i64::try_from(seconds).unwrap(),
        }
    }
}

/// The whole matrix.
const HISTORIES: u64 = 1000;

/// Plays histories to stores that `make` makes. Only what frees by the clock of its callers is told
/// to.
fn check(runtime: &tokio::runtime::Runtime, make: impl Fn() -> Arc<dyn Store>, collects: bool) {
    let mut runner = TestRunner::new(ProptestConfig::with_cases(matrix(HISTORIES) as u32));
    let histories = prop::collection::vec(step(), 1..50).prop_map(move |mut steps| {
        steps.retain(|step| collects || !matches!(step, Step::Collect));
        steps
    });
    let played = runner.run(&histories, |steps| {
        let _: () = runtime.block_on(play(&*make(), steps));
        Ok(())
    });
    played.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn any_history_of_the_store_in_memory_is_that_of_the_model() {
    check(&runtime(), || Arc::new(in_memory()), true);
}

#[test]
fn any_history_of_the_store_in_a_file_is_that_of_the_model() {
    let folder = crate::embedded::fast_folder();
    let number = std::cell::Cell::new(0);
    let make = || -> Arc<dyn Store> {
        let _ = std::fs::remove_file(folder.path().join(format!("{}.redb", number.get())));
        number.set(number.get() + 1);
        let path = folder.path().join(format!("{}.redb", number.get()));
        Arc::new(EmbeddedStore::new(Embedded::open(path, EmbeddedConfig::default()).unwrap()))
    };
    check(&runtime(), make, true);
}

#[cfg(feature = "redis")]
#[test]
fn any_history_of_the_store_in_redis_is_that_of_the_model() {
    use crate::{
        redis::{Redis, RedisConfig},
        testing::RedisServer,
    };
    let (folder, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let server = RedisServer::start(folder.path(), &[]);
    let _inside = runtime.enter();
    let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
    let make = || -> Arc<dyn Store> {
        let _: () = runtime.block_on(redis.query(&::redis::cmd("FLUSHALL"))).unwrap();
        Arc::new(RedisStore::new(redis.clone()))
    };
    check(&runtime, make, false);
}
