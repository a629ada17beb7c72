//! Access to Google through the built server, with the Google twin on loopback and a browser as plain as it can be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::net::TcpStream;

use common::{Answer, Server, exchange};
use livos_twins::{
    google::{Config, Google},
    serve,
};
use serde_json::json;
use tokio::{net::TcpListener, runtime::Runtime};

/// A twin on a free port, and the runtime that it lives in.
fn twin() -> (Runtime, Google, String) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (google, address) = runtime.block_on(async {
        let google = Google::new(Config::default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve::listen(listener, google.clone(), std::future::pending()));
        (google, address)
    });
    (runtime, google, address.to_string())
}

fn configured(google: &str, folder: &std::path::Path) -> String {
    let known = Config::default();
    format!(
        "[google]\nclient_id = \"{}\"\nclient_secret = \"{}\"\nurl = \"http://{google}\"\n\
         [secrets]\nkey_file = \"{}\"\n",
        known.client_id,
        known.client_secret,
        folder.join("livos.keys").display()
    )
}

/// What a browser does with the link to the consent: goes to Google, and answers where it is sent back to.
fn browse(location: &str) -> String {
    let (host, path) = location.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let request = format!("GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    let answer = exchange(&mut TcpStream::connect(host).unwrap(), &request).unwrap();
    assert_eq!(answer.status, 302);
    let back = answer.header("location").unwrap();
    back.split_once("/oauth").map(|(_, path)| format!("/oauth{path}")).unwrap()
}

fn connect(server: &Server) -> Answer {
    let start = server.authorized("GET", "/oauth/google/start", &[], "");
    assert_eq!(start.status, 303, "{}", start.body);
    let cookie = start.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let back = browse(start.header("location").unwrap());
    assert_eq!(server.get(&back).status, 400, "another browser");
    let start = server.authorized("GET", "/oauth/google/start", &[("cookie", &cookie)], "");
    let cookie = start.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let back = browse(start.header("location").unwrap());
    server.request("GET", &back, &[("cookie", &cookie)], "")
}

#[test]
fn an_account_is_connected_through_the_browser_and_stays_connected_after_a_restart() {
    let (_runtime, google, address) = twin();
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
