//! What outlives the process, as an operator meets it: the file, and Redis coming and going.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{fs, path::Path};

use common::{Server, bare};
use serde_json::json;

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
