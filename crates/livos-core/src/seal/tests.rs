//! Secrets at rest against tampering, wrong keys, rotation under writes, and files that others may
//! read.

use std::{collections::HashMap, sync::Arc, sync::Mutex, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    embedded::{Embedded, EmbeddedConfig},
    secret::{Secret, SecretBytes},
    store::{EmbeddedStore, Entry, Family, Found, Key, Lifetime, Put, Store, StoreError},
    time::Timestamp,
};

const START: Timestamp = Timestamp::from_unix_ms(1_800_000_000_000);
const TOKENS: Family =
    Family::new("oauth", "token", Lifetime::For(Duration::from_secs(3600)), "tokens of a test");
const SECRETS: Family =
    Family::new("webhook", "secret", Lifetime::Forever { reason: "a test" }, "secrets of a test");

fn in_memory() -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap()))
}

fn token(id: &str) -> Key {
    TOKENS.key(id).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A ring whose keys anybody can know.
fn ring(firsts: &[u8]) -> KeyRing {
    let keys = firsts.iter().map(|first| {
        let digits: String = (0..32u8).map(|n| format!("{:02x}", n.wrapping_add(*first))).collect();
        format!("livos-key-v1:{digits}\n")
    });
    KeyRing::parse(&Secret::new(keys.collect::<String>())).unwrap()
}

/// Computed by another implementation (Python's `cryptography`, with HChaCha20 by hand): what
/// version 1 sealed must open forever.
#[test]
fn the_format_is_that_of_the_documentation() {
    let sealed = hex(
        "4c765301358bc12da556486cf2d2483761a1a8070000000a6465666768696a6b6c6d6e6f707172737475767778797a7b\
         0512cb89d15ae6e9e25e6aba5766071b2c8a088eaf3895731fb3",
    );
    let (ring, name) = (ring(&[0]), "livos:oauth:token:anna");
    let nonce: [u8; 24] = std::array::from_fn(|n| 100 + n as u8);
    assert_eq!(ring.newest().to_string(), "358bc12da556486c");
    assert_eq!(ring.seal_with(name, b"ya29.token", nonce).unwrap(), sealed);
    assert_eq!(ring.open(name, &sealed).unwrap().expose(), b"ya29.token");
}

#[test]
fn what_is_wrong_with_a_value_is_told_apart() {
    let (mine, name) = (ring(&[0]), "livos:oauth:token:anna");
    let sealed = mine.seal(name, b"ya29.token").unwrap();
    let with = |at: usize, byte: u8| {
        let mut changed = sealed.clone();
        changed[at] ^= byte;
        changed
    };
    let longer = [sealed.as_slice(), b"x"].concat();
    let (whole, head) = (sealed.len(), format::HEAD);
    type Case<'a> = (&'a str, &'a str, Vec<u8>, SealError);
    let cases: Vec<Case<'_>> = vec![
        ("another record", "livos:oauth:token:bert", sealed.clone(), SealError::Moved),
        ("a changed text", name, with(head, 1), SealError::Tampered),
        ("a changed tag", name, with(whole - 1, 0x80), SealError::Tampered),
        ("a changed nonce", name, with(head - 1, 1), SealError::Tampered),
        ("in the clear", name, b"ya29.token".to_vec(), SealError::NotSealed),
        ("nothing", name, Vec::new(), SealError::NotSealed),
        ("a later version", name, with(3, 3), SealError::UnknownVersion(2)),
        (
            "a cut head",
            name,
            sealed[..20].to_vec(),
            SealError::Truncated { found: 20, expected: head + format::TAG },
        ),
        (
            "a cut tag",
            name,
            sealed[..whole - 1].to_vec(),
            SealError::Truncated { found: whole - 1, expected: whole },
        ),
        ("more than all", name, longer, SealError::Truncated { found: whole + 1, expected: whole }),
    ];
    for (what, name, value, error) in cases {
        assert_eq!(mine.open(name, &value).map(|_| ()), Err(error), "{what}");
    }
    let other = ring(&[1]).open(name, &sealed).map(|_| ());
    assert_eq!(other, Err(SealError::UnknownKey(mine.newest())), "the wrong key");
    let large = vec![0; MAX_SECRET + 1];
    assert_eq!(mine.seal(name, &large), Err(SealError::TooLarge(MAX_SECRET + 1)));
    let largest = mine.seal(name, &large[1..]).unwrap();
    assert_eq!(largest.len(), crate::store::MAX_VALUE, "the longest secret just fits into the store");
    assert_eq!(mine.open(name, &largest).unwrap().expose().len(), MAX_SECRET);
}

#[test]
fn nothing_that_prints_shows_a_key_or_a_secret() {
    let ring = ring(&[0]);
    let sealed = SealedStore::new(in_memory(), ring.clone());
    let entry = SealedEntry { secret: SecretBytes::from(b"ya29.token".to_vec()), version: 1 };
    let text = format!("{ring:?} {sealed:?} {entry:?} {:?}", ring.text());
    assert!(text.contains("358bc12da556486c"), "{text}");
    for hidden in ["ya29", "000102", "[0, 1, 2", "121, 97, 50"] {
        assert!(!text.contains(hidden), "{text}");
    }
    let errors = [
        KeyRing::parse(&Secret::new("# a comment\nlivos-key-v1:0011secret")).unwrap_err(),
        KeyRing::parse(&Secret::new(format!("{0} {0}", ring.text().expose().trim()))).unwrap_err(),
        KeyRing::parse(&Secret::new(" # nothing\n")).unwrap_err(),
    ];
    let said = errors.map(|error| error.to_string());
    assert!(said[0].starts_with("line 2 ") && said[1].contains("repeats") && said[2].contains("no key"));
    assert!(said.iter().all(|said| !said.contains("0011") && !said.contains("000102")), "{said:?}");
}

#[test]
fn a_ring_rotates_and_retires() {
    let first = KeyRing::generate().unwrap();
    let old = first.newest();
    let sealed = first.seal("a", b"x").unwrap();
    assert_ne!(sealed, first.seal("a", b"x").unwrap(), "the same secret never looks the same");
    let both = first.rotated().unwrap();
    assert_eq!((both.ids().count(), both.ids().last()), (2, Some(old)));
    assert_eq!(both.open("a", &sealed).unwrap().expose(), b"x", "the old key still opens");
    let new = both.seal("a", b"y").unwrap();
    assert_eq!(KeyRing::key_of(&new), Ok(both.newest()));
    assert_eq!(first.open("a", &new).map(|_| ()), Err(SealError::UnknownKey(both.newest())));
    let last = both.without(old).unwrap();
    assert_eq!(last.open("a", &sealed).map(|_| ()), Err(SealError::UnknownKey(old)));
    assert_eq!(last.without(last.newest()).map(|_| ()), Err(KeyError::Newest(last.newest())));
    assert_eq!(last.without(old).map(|_| ()), Err(KeyError::Unknown(old)));
    let comma = KeyRing::parse(&Secret::new(both.text().expose().trim().replace('\n', ","))).unwrap();
    assert_eq!(
        comma.ids().collect::<Vec<_>>(),
        both.ids().collect::<Vec<_>>(),
        "as in an environment variable"
    );
    let many = (2..=KeyRing::MOST).try_fold(first, |ring, _| ring.rotated()).unwrap();
    assert_eq!(many.rotated().map(|_| ()), Err(KeyError::TooMany(KeyRing::MOST + 1)));
}

#[cfg(unix)]
#[test]
fn a_key_file_is_made_once_and_read_by_its_owner_only() {
    use std::{fs, os::unix::fs::PermissionsExt};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let file = KeyFile::new(&path);
    assert!(file.load().unwrap_err().is_absent());
    let made: Vec<KeyId> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..4).map(|_| scope.spawn(|| file.load_or_create().unwrap().newest())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(made.iter().all(|key| *key == made[0]), "processes that start together use one key: {made:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(file.create().is_err(), "a key is never overwritten");
    let rotated = file.rotate().unwrap();
    assert_eq!(file.load().unwrap().ids().collect::<Vec<_>>(), rotated.ids().collect::<Vec<_>>());
    assert_eq!(file.retire(made[0]).unwrap().ids().collect::<Vec<_>>(), [rotated.newest()]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    for (mode, passes) in [(0o640, false), (0o604, false), (0o660, false), (0o440, true), (0o400, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let loaded = file.load();
        assert_eq!(loaded.is_ok(), passes, "{mode:o}");
        if let Err(error) = loaded {
            assert!(error.to_string().contains(&format!("mode 0{mode:o}")), "{error}");
        }
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "hunter2\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let error = file.load().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(
        cause.starts_with("line 1 ")
            && !cause.contains("hunter2")
            && !format!("{error:?}").contains("hunter2")
    );
    assert!(KeyFile::new(folder.path()).load().is_err(), "a folder is no key file");
    assert!(KeyFile::new(folder.path().join("no/such/keys")).load_or_create().is_err());
}

#[tokio::test]
async fn a_secret_is_given_back_and_nothing_of_it_lies_in_the_store() {
    let store = in_memory();
    let sealed = SealedStore::new(Arc::clone(&store), ring(&[0]));
    let key = token("anna");
    assert_eq!(sealed.put(START, &key, Secret::new("ya29.token")).await.unwrap(), 1);
    assert_eq!(sealed.put_if(START, &key, vec![0, 159], None).await.unwrap(), Put::Conflict(Some(1)));
    let entry = sealed.get(START, &key).await.unwrap().unwrap();
    assert_eq!((entry.secret.to_text().unwrap().expose(), entry.version), ("ya29.token", 1));
    let raw = store.get(START, &key).await.unwrap().unwrap().value;
    assert!(!raw.windows(4).any(|bytes| bytes == b"ya29"));
    assert_eq!(sealed.put_if(START, &key, vec![0, 159], Some(1)).await.unwrap(), Put::Written(2));
    assert!(sealed.get(START, &key).await.unwrap().unwrap().secret.to_text().is_none(), "not a text");
    // Somebody with the file copies one record over another.
    store.put(START, &token("eve"), raw).await.unwrap();
    let error = sealed.get(START, &token("eve")).await.unwrap_err();
    assert_eq!(error.to_string(), "the secret under livos:oauth:token:eve can't be opened");
    assert!(matches!(error, SealedError::Seal { source: SealError::Moved, .. }) && !error.is_temporary());
    assert!(sealed.remove(START, &token("eve")).await.unwrap(), "what can't be opened can be removed");
    let hour = START.plus(Duration::from_secs(3600));
    assert!(sealed.get(hour, &key).await.unwrap().is_none(), "it expires as any value does");
}

#[tokio::test]
async fn resealing_brings_all_under_the_newest_key_and_prolongs_nothing() {
    let (store, old) = (in_memory(), ring(&[0]));
    let before = SealedStore::new(Arc::clone(&store), old.clone());
    for n in 0..450 {
        before.put(START, &token(&n.to_string()), Secret::new(format!("token {n}"))).await.unwrap();
    }
    before.put(START, &SECRETS.key("stripe").unwrap(), Secret::new("whsec")).await.unwrap();
    store.put(START, &token("clear"), Bytes::from_static(b"in the clear")).await.unwrap();
    let new = old.rotated().unwrap();
    let after = SealedStore::new(Arc::clone(&store), new.clone());
    // The clock may stand anywhere meanwhile: an expiry is an instant, and stays it.
    for (now, resealed) in [(START.plus(Duration::from_secs(1800)), 450), (START, 0)] {
        let report = after.reseal(now, &TOKENS).await.unwrap();
        let unreadable = vec![(token("clear").to_string(), SealError::NotSealed)];
        let expected = Resealed { records: 451, resealed, contended: 0, unreadable, unreadable_total: 1 };
        assert_eq!(report, expected);
        assert!(!report.is_complete());
    }
    let found = store.scan(START, &TOKENS.prefix(), None, 1000).await.unwrap();
    assert!(found.iter().all(|found| found.expires == Some(START.plus(Duration::from_secs(3600)))));
    let alone = SealedStore::new(Arc::clone(&store), new.without(old.newest()).unwrap());
    let entry = alone.get(START, &token("449")).await.unwrap().unwrap();
    assert_eq!((entry.secret.expose(), entry.version), (b"token 449".as_slice(), 2));
    let error = alone.get(START, &SECRETS.key("stripe").unwrap()).await.unwrap_err();
    assert!(
        matches!(error, SealedError::Seal { source: SealError::UnknownKey(_), .. }),
        "another family is left"
    );
    assert!(after.reseal(START, &SECRETS).await.unwrap().is_complete());
    assert!(
        alone
            .get(START.plus(Duration::from_secs(1 << 30)), &SECRETS.key("stripe").unwrap())
            .await
            .unwrap()
            .is_some()
    );
}

/// Writes something else in the last moment before a conditional write, as another process might.
struct Interfering {
    inner: Arc<dyn Store>,
    writes: Mutex<Vec<(Key, Bytes)>>,
}

#[async_trait]
impl Store for Interfering {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        self.inner.get(now, key).await
    }
    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        self.inner.put(now, key, value).await
    }
    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        let other = self.writes.lock().unwrap().pop();
        if let Some((key, value)) = other {
            self.inner.put(now, &key, value).await?;
        }
        self.inner.put_if(now, key, value, version).await
    }
    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        self.inner.remove(now, key).await
    }
    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        self.inner.add(now, key, field, delta).await
    }
    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        self.inner.counters(now, key).await
    }
    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        self.inner.scan(now, prefix, after, limit).await
    }
    async fn collect(&self, now: Timestamp, limit: usize) -> Result<usize, StoreError> {
        self.inner.collect(now, limit).await
    }
}

#[tokio::test]
async fn a_write_in_the_middle_of_resealing_wins() {
    let (inner, old) = (in_memory(), ring(&[0]));
    let before = SealedStore::new(Arc::clone(&inner), old.clone());
    let key = token("anna");
    before.put(START, &key, Secret::new("first")).await.unwrap();
    let fresh = |text: &str| (key.clone(), Bytes::from(old.seal(key.as_str(), text.as_bytes()).unwrap()));
    // A process with the old ring writes twice while the pass is at it.
    let writes = Mutex::new(vec![fresh("third"), fresh("second")]);
    let store = Arc::new(Interfering { inner: Arc::clone(&inner), writes });
    let after = SealedStore::new(store, old.rotated().unwrap());
    let report = after.reseal(START, &TOKENS).await.unwrap();
    assert_eq!((report.resealed, report.contended), (1, 0), "a record that changed is tried again");
    let entry = after.get(START, &key).await.unwrap().unwrap();
    assert_eq!((entry.secret.expose(), entry.version), (b"third".as_slice(), 4));
    // One that goes on writing with the old ring is reported, and nothing is lost by it.
    let writes = Mutex::new((0..9).map(|n| fresh(&format!("again {n}"))).collect());
    let stubborn = Arc::new(Interfering { inner: Arc::clone(&inner), writes });
    inner.put(START, &key, fresh("old again").1).await.unwrap();
    let report = SealedStore::new(stubborn, after.ring.clone()).reseal(START, &TOKENS).await.unwrap();
    assert_eq!((report.resealed, report.contended), (0, 1));
    assert!(!report.is_complete());
    assert_eq!(after.get(START, &key).await.unwrap().unwrap().secret.expose(), b"again 5");
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_in_redis_are_resealed_under_writes_too() {
    use crate::{
        redis::{Redis, RedisConfig},
        store::RedisStore,
        testing::RedisServer,
    };
    let folder = tempfile::tempdir().unwrap();
    let server = RedisServer::start(folder.path(), &[]);
    let store: Arc<dyn Store> =
        Arc::new(RedisStore::new(Redis::new(RedisConfig::new(server.url())).unwrap()));
    let old = ring(&[0]);
    let before = SealedStore::new(Arc::clone(&store), old.clone());
    for n in 0..50 {
        before.put(START, &token(&n.to_string()), Secret::new("old")).await.unwrap();
    }
    let after = SealedStore::new(store, old.rotated().unwrap());
    let writer = after.clone();
    let writing = tokio::spawn(async move {
        for n in 0..50 {
            writer.put(START, &token(&n.to_string()), Secret::new("new")).await.unwrap();
        }
    });
    let report = after.reseal(START, &TOKENS).await.unwrap();
    writing.await.unwrap();
    assert_eq!((report.records, report.contended, report.unreadable_total), (50, 0, 0));
    for n in 0..50 {
        let entry = after.get(START, &token(&n.to_string())).await.unwrap().unwrap();
        assert_eq!(entry.secret.expose(), b"new", "no write is lost to resealing");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Put { process: usize, id: u8, text: Vec<u8> },
    Remove { id: u8 },
    Rotate,
    Restart { process: usize },
    Reseal { process: usize },
    Retire,
    Clock { minutes: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let text = proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        4 => (0..2usize, 0..6u8, text).prop_map(|(process, id, text)| Step::Put { process, id, text }),
        1 => (0..6u8).prop_map(|id| Step::Remove { id }),
        1 => Just(Step::Rotate),
        2 => (0..2usize).prop_map(|process| Step::Restart { process }),
        2 => (0..2usize).prop_map(|process| Step::Reseal { process }),
        1 => Just(Step::Retire),
        1 => (-20..20i64).prop_map(|minutes| Step::Clock { minutes }),
    ]
}

/// Two processes, one key file. Keys are retired only after both were restarted with the newest and
/// the family was resealed, as the manual says.
async fn any_history(steps: Vec<Step>) {
    let (store, mut now) = (in_memory(), START);
    let mut file = KeyRing::generate().unwrap();
    let open = |ring: &KeyRing| SealedStore::new(Arc::clone(&store), ring.clone());
    let mut processes = [open(&file), open(&file)];
    let mut rings = [file.clone(), file.clone()];
    let mut model: HashMap<u8, (Vec<u8>, Timestamp)> = HashMap::new();
    let life = Duration::from_secs(3600);
    for step in steps {
        match step {
            Step::Put { process, id, text } => {
                processes[process].put(now, &token(&id.to_string()), text.clone()).await.unwrap();
                model.insert(id, (text, now.plus(life)));
            }
            Step::Remove { id } => {
                processes[0].remove(now, &token(&id.to_string())).await.unwrap();
                model.remove(&id);
            }
            Step::Rotate if file.ids().count() < KeyRing::MOST => file = file.rotated().unwrap(),
            Step::Rotate => {}
            Step::Restart { process } => {
                processes[process] = open(&file);
                rings[process] = file.clone();
            }
            Step::Reseal { process } => {
                let report = processes[process].reseal(now, &TOKENS).await.unwrap();
                assert_eq!(report.contended, 0);
            }
            Step::Retire => {
                let restarted = rings.iter().all(|ring| ring.newest() == file.newest());
                // One that has expired by a clock that was set forward lives again when it is set
                // back, so all are looked at.
                let earliest = Timestamp::from_unix_ms(0);
                if restarted && processes[0].reseal(earliest, &TOKENS).await.unwrap().is_complete() {
                    let old: Vec<KeyId> = file.ids().skip(1).collect();
                    file = old.into_iter().fold(file, |file, key| file.without(key).unwrap());
                }
            }
            Step::Clock { minutes } => now = Timestamp::from_unix_ms(now.unix_ms() + minutes * 60_000),
        }
        let reader = open(&file);
        for id in 0..6u8 {
            let expected = model.get(&id).filter(|(_, expires)| *expires > now).map(|(text, _)| text.clone());
            let entry = reader.get(now, &token(&id.to_string())).await.unwrap();
            assert_eq!(entry.map(|entry| entry.secret.expose().to_vec()), expected);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_secret_of_any_record_opens_there_and_nowhere_else(
        text in proptest::collection::vec(any::<u8>(), 0..300),
        name in "\\PC{0,60}",
        other in "\\PC{0,60}",
    ) {
        let ring = ring(&[3, 9]);
        let sealed = ring.seal(&name, &text).unwrap();
        let opened = ring.open(&name, &sealed).unwrap();
        prop_assert_eq!(opened.expose(), text.as_slice());
        if other != name {
            prop_assert_eq!(ring.open(&other, &sealed).map(|_| ()), Err(SealError::Moved));
        }
    }

    #[test]
    fn any_change_of_any_byte_is_found(
        text in proptest::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        change in 1..=255u8,
        cut in any::<prop::sample::Index>(),
    ) {
        let ring = ring(&[3, 9]);
        let mut sealed = ring.seal("a", &text).unwrap();
        prop_assert!(ring.open("a", &sealed[..cut.index(sealed.len())]).is_err());
        let at = at.index(sealed.len());
        sealed[at] ^= change;
        prop_assert!(ring.open("a", &sealed).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), magic in any::<bool>()) {
        let bytes = if magic { [b"LvS\x01".as_slice(), &bytes].concat() } else { bytes };
        prop_assert!(ring(&[3]).open("a", &bytes).is_err());
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let _ = KeyRing::parse(&Secret::new(text));
    }

    #[test]
    fn no_history_of_rotations_loses_a_secret(steps in proptest::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(any_history(steps));
    }
}
