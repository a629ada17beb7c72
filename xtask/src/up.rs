//! `cargo xtask up`: from a fresh clone to a running deployment.

use std::process::Command;

use crate::{
    packages::{self, Outcome},
    sh::{self, Result, say},
    web,
};

/// Builds what is missing and becomes the server.
pub fn run(args: &[String]) -> Result {
    speech();
    if let Err(failure) = web::build() {
        say(&format!("The web client could not be built ({failure}); the server starts without it."));
    }
    sh::run(
        "server: build (release)",
        &mut sh::cargo(&["build", "--quiet", "--release", "-p", "livos-vps"]),
    )?;
    let binary = sh::target().join("release/livos-vps");
    let args = args.strip_prefix(&["--".to_owned()]).unwrap_or(args);
    become_server(Command::new(&binary).args(args))
}

/// The demo hears and speaks with these packages; without them it falls back to a script and tones.
fn speech() {
    match packages::ensure(packages::SPEECH) {
        Ok(Outcome::Present) => {}
        Ok(Outcome::Missing(line)) => {
            say(
                "The simulated providers can hear and speak real words with three small packages; to get them, run:",
            );
            say(&format!("  {line}"));
            say("Without them the demo answers a scripted transcript in tones.");
        }
        Err(failure) => say(&format!(
            "The speech packages could not be installed ({failure}); the demo uses a script and tones."
        )),
    }
}

/// Replaces this process, so that signals reach the server and not a parent.
#[cfg(unix)]
fn become_server(command: &mut Command) -> Result {
    use std::os::unix::process::CommandExt;
    Err(format!("the server could not be started: {}", command.exec()))
}

#[cfg(not(unix))]
fn become_server(command: &mut Command) -> Result {
    sh::run("server", command)
}
