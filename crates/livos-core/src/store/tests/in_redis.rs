//! The store in Redis: the contract, and what becomes of reads and writes while it is away.

use super::*;
use crate::{
    breaker::BreakerConfig,
    redis::{Gate, Redis, RedisConfig},
    testing::RedisServer,
};

struct Rig {
    server: RedisServer,
    gate: Gate,
    _folder: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = RedisServer::start(folder.path(), &RedisServer::DURABLE);
        let redis = Redis::new(RedisConfig::new(server.url())).unwrap();
        let config = BreakerConfig { open_for: Duration::from_millis(50), ..BreakerConfig::default() };
        Self { server, gate: Gate::new(redis, config), _folder: folder }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_redis_keeps_the_contract() {
    let rig = Rig::new();
    contract::check(Arc::new(RedisStore::new(rig.gate.redis().clone()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_guarded_store_keeps_the_contract() {
    let rig = Rig::new();
    contract::check(Arc::new(GuardedStore::new(rig.gate.clone()))).await;
}

#[tokio::test]
async fn while_redis_is_away_each_family_reads_and_writes_as_it_says() {
    const DAY: Lifetime = Lifetime::For(Duration::from_secs(86_400));
    const STRICT: Family = Family::new("test", "strict", DAY, "a test");
    const RECENT: Family = Family::new("test", "recent", DAY, "a test")
        .while_away(AwayReads::LastKnown(Duration::from_secs(60)), AwayWrites::Drop);
    const LOOSE: Family =
        Family::new("test", "loose", DAY, "a test").while_away(AwayReads::Nothing, AwayWrites::Drop);
    let mut rig = Rig::new();
    let (store, start) = (GuardedStore::new(rig.gate.clone()), contract::START);
    let [strict, recent, loose] = [STRICT, RECENT, LOOSE].map(|family| family.key("a").unwrap());
    for key in [&strict, &recent, &loose] {
        assert_eq!(store.put(start, key, Bytes::from_static(b"1")).await.unwrap(), 1);
        assert_eq!(store.add(start, key, "n", 5).await.unwrap(), 5);
        assert_eq!(store.counters(start, key).await.unwrap(), [("n".to_owned(), 5)]);
    }
    rig.server.kill();

    let failed = store.get(start, &strict).await.unwrap_err();
    assert!(failed.is_temporary() && failed.to_string().contains("the store in Redis failed"), "{failed}");
    let last = store.get(start.plus(Duration::from_secs(59)), &recent).await.unwrap();
    assert_eq!(last, Some(Entry { value: Bytes::from_static(b"1"), version: 1 }));
    assert_eq!(store.counters(start, &recent).await.unwrap(), [("n".to_owned(), 5)]);
    assert!(store.get(start.plus(Duration::from_secs(60)), &recent).await.is_err(), "too old to be told");
    assert!(store.get(start, &RECENT.key("never read").unwrap()).await.is_err());
    assert_eq!(store.get(start, &loose).await.unwrap(), None);
    assert_eq!(store.counters(start, &loose).await.unwrap(), []);

    assert_eq!(store.put(start, &loose, Bytes::from_static(b"2")).await.unwrap(), 0, "dropped");
    assert_eq!(store.add(start, &recent, "n", 2).await.unwrap(), 2, "dropped");
    assert!(!store.remove(start, &loose).await.unwrap(), "dropped");
    let begun = std::time::Instant::now();
    assert!(store.put(start, &strict, Bytes::from_static(b"2")).await.is_err());
    assert!(begun.elapsed() >= Duration::from_secs(3), "three more tries, a second apart");
    let decision = store.put_if(start, &loose, Bytes::from_static(b"2"), Some(1));
    // While it is tried again the server comes back.
    let (decided, ()) = tokio::join!(decision, async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rig.server.restart();
    });
    assert_eq!(decided.unwrap(), Put::Written(2), "a decision is never dropped");
    assert_eq!(store.get(start, &loose).await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn the_janitor_names_immortal_keys_of_any_program() {
    let (rig, start) = (Rig::new(), contract::START);
    let redis = rig.gate.redis();
    let store = GuardedStore::new(rig.gate.clone());
    for family in [HOUR, EVER, LOST] {
        store.put(start, &family.key("x").unwrap(), Bytes::new()).await.unwrap();
    }
    store.add(start, &LOST.key("counted").unwrap(), "n", 1).await.unwrap();
    let set = |name: &'static str| async move {
        let _: () = redis.query(::redis::cmd("SET").arg(name).arg("x")).await.unwrap();
    };
    set("livos:stray").await;
    set("somebody-else").await;
    set("livos:mortal").await;
    let _: () = redis.query(::redis::cmd("EXPIRE").arg("livos:mortal").arg(1000)).await.unwrap();
    let queue = crate::queue::RedisQueue::new(redis.clone(), "q", Default::default()).unwrap();
    let job = crate::queue::NewJob::new(crate::queue::JobKind::from_static("x"), "x");
    crate::queue::Intake::enqueue(&queue, start, job).await.unwrap();
    let report = sweep(&store, start, &[HOUR, EVER]).await.unwrap();
    assert_eq!(report.immortal, ["livos:stray", "livos:test:lost:counted", "livos:test:lost:x"]);
    assert_eq!(report.keys, 6);
}

#[test]
fn the_tables_of_keys_in_the_manual_are_those_of_the_code() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/keys.md");
    let written = std::fs::read_to_string(&path).unwrap();
    let mut expected = written.clone();
    for (mark, table) in [
        ("<!-- families -->\n", Family::table(&crate::families())),
        ("<!-- queue -->\n", crate::queue::RedisQueue::key_table()),
    ] {
        let begin = expected.find(mark).unwrap() + mark.len();
        let rows = expected[begin..].split_inclusive('\n');
        let old: usize =
            rows.take_while(|row| row.trim().is_empty() || row.starts_with('|')).map(str::len).sum();
        let end = if begin + old == expected.len() { "" } else { "\n" };
        expected.replace_range(begin..begin + old, &format!("\n{table}{end}"));
    }
    if std::env::var_os("LIVOS_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(
        written == expected,
        "docs/keys.md is behind the code; LIVOS_WRITE_DOCS=1 writes it:\n{expected}"
    );
}
