//! Debian packages that the demo and the tests use: installed if that is allowed, otherwise named.

use std::{path::Path, process::Command};

use crate::sh::{self, Result, say};

/// Offline speech recognition and a voice, with which the simulated providers hear and speak.
pub const SPEECH: &[&str] = &["pocketsphinx", "pocketsphinx-en-us", "flite", "opus-tools"];
/// What the tests also need: a browser, real speech, a Redis and a PostgreSQL server, and Python
/// for the vendors' SDKs.
pub const TEST: &[&str] = &[
    "chromium",
    "pocketsphinx",
    "pocketsphinx-en-us",
    "flite",
    "opus-tools",
    "espeak-ng",
    "sox",
    "postgresql",
    "python3",
    "python3-venv",
    "redis-server",
];

/// The compiler of the fuzzer's own library.
pub const FUZZ: &[&str] = &["g++"];

/// The result of a request for packages.
pub enum Outcome {
    /// All of them are installed.
    Present,
    /// Some are missing and we may not install them. This command would.
    Missing(String),
}

/// Installs what is missing of `packages` by apt-get, if we are root or have passwordless sudo.
pub fn ensure(packages: &[&str]) -> Result<Outcome> {
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(Outcome::Present);
    }
    let line = format!("sudo apt-get install --no-install-recommends {}", missing.join(" "));
    if !Path::new("/usr/bin/apt-get").exists() {
        return Ok(Outcome::Missing(format!("{line}   (or what your system calls these packages)")));
    }
    let Some(prefix) = privilege() else { return Ok(Outcome::Missing(line)) };
    say(&format!("Installing Debian packages: {}", missing.join(" ")));
    sh::run("apt-get update", apt(prefix).arg("-qq").arg("update"))?;
    let install = ["-qq", "install", "-y", "--no-install-recommends"];
    sh::run("apt-get install", apt(prefix).args(install).args(&missing))?;
    Ok(Outcome::Present)
}

/// Like [`ensure`], but it is an error if a package stays missing.
pub fn require(packages: &[&str]) -> Result {
    match ensure(packages)? {
        Outcome::Present => Ok(()),
        Outcome::Missing(line) => {
            Err(format!("these packages are needed and can't be installed from here; run: {line}"))
        }
    }
}

fn installed(package: &str) -> bool {
    // A Python from outside the package system will do if it has these two modules.
    if package.starts_with("python3") {
        return sh::has("python3", "-V")
            && sh::command("python3", &["-c", "import venv, ensurepip"]).status().is_ok_and(|s| s.success());
    }
    sh::first_line("dpkg-query", &["-W", "-f", "${db:Status-Status}", package])
        .is_some_and(|status| status == "installed")
}

/// The words before `apt-get`; `None` if we may not run it.
fn privilege() -> Option<&'static [&'static str]> {
    if sh::first_line("id", &["-u"]).is_some_and(|uid| uid == "0") {
        return Some(&[]);
    }
    sh::command("sudo", &["-n", "true"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
        .then_some(&["sudo", "-n"])
}

fn apt(prefix: &[&str]) -> Command {
    let words: Vec<&str> =
        prefix.iter().copied().chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]).collect();
    sh::command(words[0], &words[1..])
}
