//! The web client: npm ci, then Vite, and its protocol types, generated from the Rust types.

use std::{
    fs,
    path::{Path, PathBuf},
};

use walkdir::WalkDir;

use crate::sh::{self, Result, say};

/// The first Node.js release that the client builds with.
const MIN_NODE: u32 = 20;

/// The folder of the client's source.
pub fn source() -> PathBuf {
    sh::root().join("examples/vps/web")
}

/// Builds the client if Node.js is there, and returns whether it is.
pub fn build() -> Result<bool> {
    if !node_present() {
        say(&format!(
            "Node.js {MIN_NODE} or newer was not found: the web client is not built. The server starts without it."
        ));
        return Ok(false);
    }
    install()?;
    let built = sh::target().join("web-dist");
    let out = built.display().to_string();
    let vite = ["run", "--silent", "build", "--", "--emptyOutDir", "--outDir", &out];
    npm("web client: build", &vite)?;
    update(&built, &source().join("dist")).map_err(|error| format!("dist: {error}"))?;
    Ok(true)
}

/// Makes `to` the same as `from`, and writes only what differs: cargo builds the server again for
/// each file of the client that is newer than the last build, whatever is in it.
fn update(from: &Path, to: &Path) -> std::io::Result<()> {
    for path in files(from) {
        let (new, file) = (fs::read(from.join(&path))?, to.join(&path));
        if !fs::read(&file).is_ok_and(|old| old == new) {
            fs::create_dir_all(file.parent().unwrap_or(to))?;
            fs::write(&file, new)?;
        }
    }
    files(to)
        .iter()
        .filter(|path| !from.join(path).is_file())
        .try_for_each(|path| fs::remove_file(to.join(path)))
}

/// The files below a folder, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(folder).into_iter().flatten().filter(|entry| entry.file_type().is_file());
    entries.filter_map(|entry| Some(entry.path().strip_prefix(folder).ok()?.to_owned())).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("assets")).unwrap();
        fs::write(from.join("index.html"), "1").unwrap();
        fs::write(from.join("assets/a.js"), "1").unwrap();
        update(&from, &to).unwrap();
        let written = fs::metadata(to.join("index.html")).unwrap().modified().unwrap();
        fs::write(from.join("assets/b.js"), "2").unwrap();
        fs::remove_file(from.join("assets/a.js")).unwrap();
        update(&from, &to).unwrap();
        assert_eq!(files(&to), files(&from));
        assert_eq!(fs::metadata(to.join("index.html")).unwrap().modified().unwrap(), written);
        fs::write(from.join("index.html"), "3").unwrap();
        update(&from, &to).unwrap();
        assert_eq!(fs::read(to.join("index.html")).unwrap(), b"3");
    }
}
