//! What outlives the process, as an operator meets it: the file, and Redis coming and going.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use common::{Server, bare};
use livos_core::testing::RedisServer;
use serde_json::{Value, json};

/// Starts a server that must not start; answers what it says.
fn refusal(store: &Path, variables: &[(&str, &str)]) -> String {
    let output = bare().env("LIVOS_STORE", store).envs(variables.iter().copied()).output().unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty(), "nothing was announced");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn the_file_is_made_and_tells_why_it_can_not_be_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("state/livos/livos.redb");
    let server = Server::start_with("", &[("LIVOS_STORE", file.to_str().unwrap())]);
    assert_eq!(server.ready().json()["durable"], json!({ "state": "ready", "backend": "embedded" }));
    server.metrics_when(|metrics| metrics.contains("livos_queue_jobs{state=\"ready\"} 0"));
    let locked = refusal(&file, &[]);
    assert!(locked.contains("livos.redb is in use by another process"), "{locked}");
    assert!(locked.contains("LIVOS_STORE"), "{locked}");
    server.stop();
    // Ended in order, it can be opened again.
    let again = Server::start_with("", &[("LIVOS_STORE", file.to_str().unwrap())]);
    assert_eq!(again.ready().status, 200);
    again.stop();
    fs::write(&file, b"not a file of this kind").unwrap();
    let corrupt = refusal(&file, &[]);
    assert!(
        corrupt.contains("damaged or not a LivOS file") && corrupt.contains("newest backup"),
        "{corrupt}"
    );
    let nowhere = refusal(Path::new("/proc/nowhere/livos.redb"), &[]);
    assert!(nowhere.contains("store.path: the folder /proc/nowhere can't be made"), "{nowhere}");
}

const QUICK: &str = "[redis]\nleft_alone_for = \"1s\"\n";

/// `durable` of `/readyz` and its status, once it is as wanted.
fn ready_when(server: &Server, wanted: impl Fn(u16, &Value) -> bool) -> Value {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = server.ready();
        let durable = answer.json()["durable"].clone();
        if wanted(answer.status, &durable) {
            return durable;
        }
        assert!(Instant::now() < limit, "{}", answer.body);
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn readiness_follows_redis_and_the_server_goes_on_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = RedisServer::start(folder.path(), &RedisServer::DURABLE);
    let url = redis.url();
    let server = Server::start_with(QUICK, &[("REDIS_URL", url.expose())]);
    let ready = json!({ "state": "ready", "backend": "redis", "spilled": 0, "emptied": 0, "reason": null });
    assert_eq!(ready_when(&server, |status, _| status == 200), ready);
    redis.kill();
    let away = ready_when(&server, |status, durable| status == 503 && durable["state"] == "degraded");
    assert!(away["reason"].as_str().unwrap().contains("redis"), "{away}");
    server.metrics_when(|metrics| metrics.contains("livos_breaker_open{name=\"redis\"} 1"));
    // Calls over connections that broke open the breaker; the probe after a while is what fails to
    // connect.
    server.metrics_when(|metrics| metrics.contains("livos_redis_connects_total{outcome=\"failed\"}"));
    assert_eq!(server.get("/healthz").status, 200);
    redis.restart();
    assert_eq!(ready_when(&server, |status, _| status == 200), ready);
    // Again, and this time without its data.
    redis.kill();
    fs::remove_dir_all(folder.path().join("appendonlydir")).unwrap();
    redis.restart();
    ready_when(&server, |status, durable| status == 200 && durable["emptied"] == 1);
    server.metrics_when(|metrics| metrics.contains("livos_redis_emptied_total 1"));
    let log = server.stop();
    assert!(log.contains("it fails, and is left alone for a while"), "{log}");
    assert!(log.contains("this Redis is not the one that it was"), "{log}");
}

#[test]
fn a_redis_that_is_away_does_not_keep_the_server_from_starting_but_one_that_refuses_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut redis = RedisServer::start(folder.path(), &["--requirepass", "the-right-one"]);
    let address = redis.url().expose().trim_start_matches("redis://").to_owned();
    let (right, wrong) =
        (format!("redis://:the-right-one@{address}"), format!("redis://:a-wrong-one@{address}"));
    let refused = refusal(&folder.path().join("livos.redb"), &[("REDIS_URL", &wrong)]);
    assert!(refused.contains("redis refuses") && !refused.contains("a-wrong-one"), "{refused}");
    redis.kill();
    let server = Server::start_with(QUICK, &[("REDIS_URL", &right)]);
    ready_when(&server, |status, durable| status == 503 && durable["state"] == "degraded");
    redis.restart();
    ready_when(&server, |status, durable| status == 200 && durable["state"] == "ready");
    server.metrics_when(|metrics| metrics.contains("livos_queue_jobs{state=\"ready\"} 0"));
    let log = server.stop();
    assert!(log.contains("starting without Redis") && !log.contains("the-right-one"), "{log}");
}

#[test]
fn the_keys_of_secrets_are_made_once_and_read_from_where_only_their_owner_looks() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (file, keys) = (folder.path().join("livos.redb"), folder.path().join("livos.keys"));
    let store = [("LIVOS_STORE", file.to_str().unwrap())];
    let newest =
        |log: String| log.lines().find_map(|line| Some(line.split_once("newest=")?.1.to_owned())).unwrap();
    let made = Server::start_with("", &store).stop();
    assert!(made.contains("a key for secrets is created"), "{made}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&keys), 0o600);
    let again = Server::start_with("", &store).stop();
    assert!(!again.contains("is created"), "{again}");
    assert_eq!(newest(made), newest(again));
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o644)).unwrap();
    let exposed = refusal(&file, &[]);
    assert!(
        exposed.contains("may be read by others (mode 0644)") && exposed.contains("livos.keys"),
        "{exposed}"
    );
    // The environment is enough, and is not repeated in an error.
    let key = format!("livos-key-v1:{}", "0f".repeat(32));
    let variables = [store[0], ("LIVOS_KEYS", key.as_str())];
    let log = Server::start_with("", &variables).stop();
    assert!(log.contains("secrets are sealed") && !log.contains("0f0f"), "{log}");
    let odd = refusal(&file, &[("LIVOS_KEYS", "hunter2")]);
    assert!(odd.contains("LIVOS_KEYS") && odd.contains("line 1") && !odd.contains("hunter2"), "{odd}");
}
