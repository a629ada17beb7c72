//! The built server and its operator: the service manager, the limit on memory, the log, and the
//! unit file.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{os::unix::net::UnixDatagram, time::Duration};

use common::{Server, TOKEN, close_code, until};
use serde_json::{Value, json};

const UNIT: &str = include_str!("../livos.service");

/// A service manager that hears one server.
struct Manager {
    socket: UnixDatagram,
    folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, folder }
    }

    fn address(&self) -> String {
        self.folder.path().join("notify").to_str().unwrap().to_owned()
    }

    fn hear(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("the server says something");
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }
}

#[test]
fn the_service_manager_hears_that_the_server_is_ready_and_that_it_stops() {
    let manager = Manager::new();
    let server = Server::start_with("", &[("NOTIFY_SOCKET", &manager.address())]);
    assert_eq!(manager.hear(), format!("READY=1\nSTATUS=listening on {}", server.address));
    assert_eq!(server.get("/healthz").status, 200, "it is what it says");
    server.stop();
    assert_eq!(manager.hear(), "STOPPING=1\nSTATUS=draining");
}

#[test]
fn the_watchdog_is_fed_for_as_long_as_the_server_lives() {
    let manager = Manager::new();
    let variables = [("NOTIFY_SOCKET", manager.address()), ("WATCHDOG_USEC", "100000".to_owned())];
    let variables = variables.each_ref().map(|(name, value)| (*name, value.as_str()));
    let server = Server::start_with("", &variables);
    let heard: Vec<_> = (0..5).map(|_| manager.hear()).collect();
    assert_eq!(heard.iter().filter(|heard| *heard == "WATCHDOG=1").count(), 4, "{heard:?}");
    server.stop();
    // Another process's watchdog is not ours to feed.
    let other = Manager::new();
    let variables =
        [("NOTIFY_SOCKET", other.address()), ("WATCHDOG_USEC", "1000".into()), ("WATCHDOG_PID", "1".into())];
    let server = Server::start_with("", &variables.each_ref().map(|(name, value)| (*name, value.as_str())));
    server.stop();
    let heard: Vec<_> = (0..2).map(|_| other.hear()).collect();
    assert!(heard[0].starts_with("READY=1") && heard[1].starts_with("STOPPING=1"), "{heard:?}");
}

#[test]
fn a_socket_that_can_not_be_used_is_told_and_one_that_nobody_reads_is_not() {
    let output = common::bare().env("NOTIFY_SOCKET", "vsock:2:1").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("the service manager's socket \"vsock:2:1\" can't be used"), "{said}");
    Server::start_with("", &[("NOTIFY_SOCKET", "/no/such/socket")]).stop();
}

#[test]
fn too_much_memory_ends_the_server_in_order_and_asks_for_a_restart() {
    let manager = Manager::new();
    let config = "[server]\ndrain_timeout = \"4 s\"\n[memory]\nsoft_limit = \"1MB\"\nsample_every = \"50ms\"\nover_for = \"2s\"\n";
    let server = Server::start_with(config, &[("NOTIFY_SOCKET", &manager.address())]);
    let mut socket = server.open_voice();
    let error = until(&mut socket, |message| message["type"] == "error").expect("the client is told");
    assert_eq!(error["code"], "draining");
    assert_eq!(close_code(&mut socket), Some(1001));
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(
        log.contains("past the soft limit") && log.contains("soft_limit=1000000") && log.contains("stopped"),
        "{log}"
    );
    let heard = [manager.hear(), manager.hear()];
    assert!(heard[0].starts_with("READY=1") && heard[1].starts_with("STOPPING=1"), "{heard:?}");
}

#[test]
fn what_the_process_holds_is_in_the_metrics() {
    let server = Server::start("[memory]\nsample_every = \"50ms\"\n");
    let mut socket = server.open_voice();
    let wanted = [
        "livos_memory_resident_bytes ",
        "livos_memory_soft_limit_bytes ",
        "livos_live{kind=\"voice session\"} 1",
        "livos_tasks{task=\"http server\"} 1",
        "livos_connections 1",
    ];
    server.metrics_when(|metrics| wanted.iter().all(|wanted| metrics.contains(wanted)));
    socket.close(None).unwrap();
    server.metrics_when(|metrics| metrics.contains("livos_live{kind=\"voice session\"} 0"));
    let log = server.stop();
    assert!(log.contains(" memory resident="), "the line comes at the start too: {log}");
}

#[test]
fn a_log_for_programs_is_one_object_a_line_and_holds_no_secret() {
    let key = ("DEEPGRAM_API_KEY", "k-secret-k");
    let server = Server::start_with(
        "[log]\nformat = \"json\"\n",
        &[key, ("DEEPGRAM_URL", "ws://127.0.0.1:1"), ("RUST_LOG", "debug")],
    );
    server.get(&server.login);
    let token = server.login.split_once('=').unwrap().1.to_owned();
    server.authorized("POST", "/v1/chat", &[("content-type", "application/json")], r#"{"text":"hello"}"#);
    let log = server.stop();
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        assert!(
            line["level"].is_string() && line["timestamp"].is_string() && line["target"].is_string(),
            "{line}"
        );
    }
    let said = |message: &str| {
        lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("{message}: {log}"))
    };
    assert_eq!(said("draining: no new work; what runs may finish")["reason"], json!("SIGTERM"));
    assert!(said("memory")["resident"].as_u64().unwrap() > 1_000_000);
    for secret in ["k-secret-k", TOKEN, &token] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
    // The environment says it for containers; and a failure is an object too.
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap().to_string();
    let output = common::bare().env("LIVOS_LOG_FORMAT", "json").env("LIVOS_LISTEN", &taken).output().unwrap();
    drop(held);
    let last: Value =
        serde_json::from_slice(output.stderr.trim_ascii().split(|byte| *byte == b'\n').next_back().unwrap())
            .unwrap();
    assert!(last["error"].as_str().unwrap().contains(&taken), "{last}");
    let odd = common::bare().env("LIVOS_LOG_FORMAT", "xml").output().unwrap();
    assert!(String::from_utf8(odd.stderr).unwrap().contains("neither text nor json"));
}

#[test]
fn the_unit_file_says_what_the_server_does() {
    let setting = |name: &str| {
        let mut lines = UNIT.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        lines.next_back().unwrap_or_else(|| panic!("the unit has no {name}"))
    };
    assert_eq!(setting("Type"), "notify");
    assert_eq!(setting("NotifyAccess"), "main");
    assert_eq!(setting("Restart"), "on-failure");
    assert_eq!(setting("RestartForceExitStatus"), "75", "the code of too much memory");
    let seconds = |name| setting(name).parse::<u64>().unwrap();
    // The drain takes 10 s by default, without a sign of life at its end.
    assert!(seconds("WatchdogSec") >= 20 && seconds("TimeoutStopSec") > 10, "{UNIT}");
    assert!(setting("ExecStart").starts_with("/usr/local/bin/livos-vps"));
    for hardened in
        ["NoNewPrivileges", "ProtectSystem", "ProtectHome", "PrivateTmp", "MemoryDenyWriteExecute"]
    {
        assert!(["yes", "strict"].contains(&setting(hardened)), "{hardened}");
    }
}
