//! Debian packages that the demo and the tests use, installed where that is allowed and named where
//! it is not.

use std::{path::Path, process::Command};

use crate::sh::{self, Result, say};

/// Hears and speaks in the demo: offline recognition and a voice, for the simulated providers.
pub const SPEECH: &[&str] = &["pocketsphinx", "pocketsphinx-en-us", "flite", "opus-tools"];
/// What the tests also need: a browser, real speech, a Redis and a PostgreSQL server, and
/// what the vendors' own SDKs run on.
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

/// What the fuzzer's own library is built with.
pub const FUZZ: &[&str] = &["g++"];

/// What became of a request for packages.
pub enum Outcome {
    /// All of them are there.
    Present,
    /// They are not, and we may not install them; this is the command that would.
    Missing(String),
}

/// Makes sure that `packages` are installed: as root on Debian or Ubuntu (or with passwordless
/// sudo), by apt-get.
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

/// Like [`ensure`], for what cannot be done without.
pub fn require(packages: &[&str]) -> Result {
    match ensure(packages)? {
        Outcome::Present => Ok(()),
        Outcome::Missing(line) => {
            Err(format!("these packages are needed and can't be installed from here; run: {line}"))
        }
    }
}

fn installed(package: &str) -> bool {
    // A machine with a Python of its own, outside the package system, has what we need from these
    // two.
    if package.starts_with("python3") {
        return sh::has("python3", "-V")
            && sh::command("python3", &["-c", "import venv, ensurepip"]).status().is_ok_and(|s| s.success());
    }
    sh::first_line("dpkg-query", &["-W", "-f", "${db:Status-Status}", package])
        .is_some_and(|status| status == "installed")
}

/// The words before `apt-get`, when we may run it.
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
