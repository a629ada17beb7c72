//! Running other programs, with a line that says what runs and how long it took.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

/// A failure in words for a person.
pub type Result<T = ()> = std::result::Result<T, String>;

/// Prints a line to standard error, and ignores a closed one.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The root of the repository.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_owned()
}

/// The target folder of cargo.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the root of the repository.
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// A command of the cargo that runs us.
pub fn cargo(args: &[&str]) -> Command {
    command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()), args)
}

/// Runs a command, showing its output, with a progress line before and after.
pub fn run(what: &str, command: &mut Command) -> Result {
    let started = Instant::now();
    say(&format!("==> {what}"));
    let status = command
        .status()
        .map_err(|error| format!("{what}: could not start {:?}: {error}", command.get_program()))?;
    if !status.success() {
        return Err(format!("{what}: {status}"));
    }
    say(&format!("    {what}: done in {:.1} s", started.elapsed().as_secs_f32()));
    Ok(())
}

/// Whether a program is on the PATH and succeeds with the argument `probe`.
pub fn has(program: &str, probe: &str) -> bool {
    let mut command = command(program, &[probe]);
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// The first line that a command prints, if it succeeds.
pub fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let output = command(program, args).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}
