//! What strangers may do to the built server: hold connections, send requests from other sites,
//! guess.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use common::{Server, TOKEN, exchange};
use serde_json::json;

/// A request of `/healthz` that gives up soon.
fn is_healthy(server: &Server) -> bool {
    let mut stream = server.connect();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", server.address);
    exchange(&mut stream, &request).is_some_and(|answer| answer.status == 200)
}

/// Waits until the server closes; answers how long that took.
fn closed_after(mut stream: TcpStream) -> Duration {
    let began = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut rest);
    began.elapsed()
}

#[test]
fn silent_connections_do_not_keep_others_out_and_are_closed() {
    let server = Server::start("[server]\nmax_connections = 16\n");
    let silent: Vec<_> = (0..64).map(|_| server.connect()).collect();
    let prefaces: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
            stream
        })
        .collect();
    assert!(is_healthy(&server));
    let answer = server.authorized("GET", "/v1/usage", &[], "");
    assert_eq!(answer.status, 200, "{}", answer.body);
    // The newest are closed by the time limit, the others made room.
    for stream in silent.into_iter().chain(prefaces) {
        assert!(closed_after(stream) < Duration::from_secs(15));
    }
    server.stop();
}

#[test]
fn a_request_that_changes_something_is_taken_from_the_own_page_only() {
    let server = Server::start(
        "[telegram]\ntoken = \"4242:a-token-for-a-simulated-server\"\nurl = \"http://127.0.0.1:1\"\n",
    );
    let login = server.get(&server.login);
    let cookie = login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let own = format!("http://{}", server.address);
    // The same host on another port is another site.
    let port = "http://127.0.0.1:1".to_owned();
    let routes = [("POST", "/v1/session"), ("POST", "/v1/chat"), ("DELETE", "/v1/pairing/devices")];
    for (method, path) in routes {
        let status = |headers: &[(&str, &str)]| {
            let cookie = [("cookie", cookie.as_str()), ("content-type", "application/json")];
            server.request(method, path, &[&cookie[..], headers].concat(), "{\"text\":\"hi\"}").status
        };
        assert!(status(&[("origin", &own)]) < 300, "{method} {path}");
        assert_eq!(status(&[("origin", &port)]), 403, "{method} {path}");
        assert_eq!(status(&[]), 403, "{method} {path}");
    }
    let refused = server.request("POST", "/v1/chat", &[("cookie", &cookie), ("origin", &port)], "");
    assert_eq!(refused.json()["kind"], json!("wrong_origin"));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("public_url = \"http://127.0.0.1:1\""), "{message}");
    let log = server.stop();
    assert!(log.contains("set public_url under [server]"), "{log}");
}

#[test]
fn looking_at_the_login_link_does_not_use_it_up() {
    let server = Server::start("");
    let looked = server.request("HEAD", &server.login, &[], "");
    assert_eq!((looked.status, looked.header("allow")), (405, Some("GET")));
    assert_eq!(server.get(&server.login).status, 303);
}

#[test]
fn the_store_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("livos.redb");
    Server::start_with("", &[("LIVOS_STORE", file.to_str().unwrap())]).stop();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_public_url_that_no_browser_would_send_is_refused() {
    let output = {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("livos.toml");
        std::fs::write(&file, "[server]\npublic_url = \"voice.example.org/livos\"\n").unwrap();
        common::bare().env("LIVOS_TOKEN", TOKEN).arg("--config").arg(&file).output().unwrap()
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("server.public_url: must be like https://"), "{said}");
}
