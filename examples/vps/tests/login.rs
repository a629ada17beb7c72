//! Logging in to the built server: across restarts, on several devices, and out again.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;

use common::{Server, bare};

fn start(store: &Path) -> Server {
    Server::start_with("", &[("LIVOS_STORE", store.to_str().unwrap())])
}

/// Opens a login link; answers the cookie.
fn log_in(server: &Server, link: &str) -> String {
    let login = server.get(link);
    assert_eq!(login.status, 303, "{}", login.body);
    login.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

fn status(server: &Server, cookie: &str) -> u16 {
    server.request("GET", "/v1/usage", &[("cookie", cookie)], "").status
}

/// What `livos-vps token` prints.
fn new_link(store: &Path) -> String {
    let output = bare().env("LIVOS_STORE", store).arg("token").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let link = String::from_utf8(output.stdout).unwrap();
    format!("/login{}", link.trim().split_once("/login").unwrap().1)
}

#[test]
fn a_restart_logs_nobody_out_and_a_second_device_ends_no_session() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("livos.redb");
    let server = start(&store);
    let first = log_in(&server, &server.login);
    let second = log_in(&server, &new_link(&store));
    assert_eq!([status(&server, &first), status(&server, &second)], [200, 200]);
    server.stop();

    let server = start(&store);
    assert_eq!([status(&server, &first), status(&server, &second)], [200, 200]);
    let own = format!("http://{}", server.address);
    let out = server.request("POST", "/logout", &[("cookie", &first), ("origin", &own)], "");
    assert_eq!(out.status, 204);
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!([status(&server, &first), status(&server, &second)], [401, 200]);
    server.stop();

    let output = bare().env("LIVOS_STORE", &store).arg("token").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("no server answers at"), "{said}");
}

#[test]
fn guesses_are_logged_and_limited_and_a_session_is_not_held_up() {
    let server = Server::start("");
    let cookie = log_in(&server, &server.login);
    let guess = || server.request("GET", "/v1/usage", &[("authorization", "Bearer wrong")], "");
    let statuses: Vec<_> = (0..25).map(|_| guess().status).collect();
    assert_eq!((statuses[0], statuses[24]), (401, 429), "{statuses:?}");
    assert!(guess().header("retry-after").is_some());
    assert_eq!(server.get("/login?token=wrong").status, 429);
    assert_eq!(status(&server, &cookie), 200);
    let log = server.stop();
    assert!(log.contains("a wrong token or login link") && log.contains("too many wrong tokens"), "{log}");
}
