//! Access to Google through the built server, with the Google twin on loopback and a browser as
//! plain as it can be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Answer, Server, begin_consent, twin};
use livos_twins::google::{Config, Google};
use serde_json::json;
use tokio::runtime::Runtime;

fn google() -> (Runtime, Google, String) {
    twin(|| Google::new(Config::default()))
}

fn configured(google: &str, folder: &std::path::Path) -> String {
    let known = Config::default();
    format!(
        "[google]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nurl = \"{google}\"\n\
         [secrets]\nkey_file = \"{}\"\n",
        known.client_id,
        known.client_secret,
        folder.join("livos.keys").display()
    )
}

fn connect(server: &Server) -> Answer {
    let (back, cookie) = begin_consent(server, &[]);
    assert_eq!(server.get(&back).status, 400, "another browser");
    let (back, cookie) = begin_consent(server, &[("cookie", &cookie)]);
    server.request("GET", &back, &[("cookie", &cookie)], "")
}

#[test]
fn an_account_is_connected_through_the_browser_and_stays_connected_after_a_restart() {
    let (_runtime, google, address) = google();
    let folder = tempfile::tempdir().unwrap();
    let config = configured(&address, folder.path());
    let file = folder.path().join("livos.redb");
    let start = || Server::start_with(&config, &[("LIVOS_STORE", file.to_str().unwrap())]);
    let server = start();
    for path in ["/oauth/google/start", "/oauth/google"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    assert_eq!(server.request("POST", "/oauth/google/disconnect", &[], "").status, 401);
    let status = |server: &Server| server.authorized("GET", "/oauth/google", &[], "").json();
    assert_eq!(status(&server)["state"], "needs_consent");
    let connected = connect(&server);
    assert!(connected.status == 200 && connected.body.contains("Connected"), "{}", connected.body);
    let shown = status(&server);
    assert_eq!(
        (&shown["state"], &shown["account"]),
        (&json!("fresh"), &json!("anna@example.com")),
        "{shown}"
    );
    assert_eq!(shown["unsaved"], false);
    let log = server.stop();
    assert!(!log.contains("ya29") && !log.contains("GOCSPX") && !log.contains("1//0"), "{log}");
    let stored = std::fs::read(&file).unwrap();
    for secret in [&b"ya29"[..], b"1//0"] {
        assert!(!stored.windows(secret.len()).any(|window| window == secret), "a token lies in the clear");
    }

    let server = start();
    let shown = (0..500).map(|_| status(&server)).find(|shown| shown["state"] != "unknown").unwrap();
    assert_eq!(shown["state"], "fresh");
    assert_eq!(google.stats().exchanges, 1);
    assert_eq!(server.authorized("POST", "/oauth/google/disconnect", &[], "").status, 204);
    assert_eq!(status(&server)["state"], "needs_consent");
    server.stop();
}

#[test]
fn without_a_client_there_are_no_pages_and_half_a_client_is_refused() {
    let server = Server::start("");
    assert_eq!(server.get("/oauth/google/callback?state=x&code=y").status, 401);
    assert_eq!(server.authorized("GET", "/oauth/google", &[], "").status, 404);
    server.stop();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("livos.toml");
    std::fs::write(&file, "[google]\nclient_id = \"x\"\n").unwrap();
    let output = common::bare().arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && error.contains("set client_id and client_secret, or neither"),
        "{error}"
    );
}
