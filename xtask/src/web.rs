//! The web client: npm ci, then Vite; and its protocol types, which are generated from the Rust
//! types.

use std::path::{Path, PathBuf};

use crate::sh::{self, Result, say};

/// The first Node.js release that the client builds with.
const MIN_NODE: u32 = 20;

/// Where the client's source is.
pub fn source() -> PathBuf {
    sh::root().join("examples/vps/web")
}

/// Builds the client where Node.js is present; answers whether it did.
pub fn build() -> Result<bool> {
    if !node_present() {
        say(&format!(
            "Node.js {MIN_NODE} or newer was not found: the web client is not built. The server starts without it."
        ));
        return Ok(false);
    }
    install()?;
    npm("web client: build", &["run", "--silent", "build"])?;
    Ok(true)
}

/// Type check and unit tests of the client.
pub fn test() -> Result {
    if !node_present() {
        return Err(format!("Node.js {MIN_NODE} or newer is needed to test the web client"));
    }
    install()?;
    npm("web client: type check", &["run", "--silent", "check"])?;
    npm("web client: tests", &["run", "--silent", "test"])
}

/// Runs a command of npm in the client's folder.
pub fn npm(what: &str, args: &[&str]) -> Result {
    sh::run(what, sh::command("npm", args).current_dir(source()))
}

/// Installs the locked packages, unless the last installation was of the same lock file.
fn install() -> Result {
    let lock = std::fs::read(source().join("package-lock.json"))
        .map_err(|error| format!("package-lock.json: {error}"))?;
    let stamp = source().join("node_modules/.livos-lock");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    npm("web client: npm ci", &["ci", "--no-audit", "--no-fund", "--loglevel=error"])?;
    std::fs::write(&stamp, lock).map_err(|error| format!("{}: {error}", stamp.display()))
}

fn node_present() -> bool {
    let version = sh::first_line("node", &["--version"]);
    let major = version
        .as_deref()
        .and_then(|v| v.trim_start_matches('v').split('.').next())
        .and_then(|v| v.parse::<u32>().ok());
    major.is_some_and(|major| major >= MIN_NODE) && sh::has("npm", "--version")
}

/// Writes the protocol types to the client's source.
pub fn write_types() -> Result {
    types(&[])
}

/// Fails when the committed protocol types are not those of the Rust types.
pub fn check_types() -> Result {
    types(&["--check"])
}

fn types(extra: &[&str]) -> Result {
    let file: &Path = &source().join("src/protocol.ts");
    let mut cargo = sh::cargo(&[
        "run",
        "--quiet",
        "-p",
        "livos-voice",
        "--features",
        "ts",
        "--example",
        "typescript",
        "--",
    ]);
    sh::run("web client: protocol types", cargo.arg(file).args(extra))
}
