//! `cargo xtask fuzz`: every target of `fuzz/`, from the committed corpus.
//!
//! By default each target does a fixed number of runs with a fixed seed, so that a change is judged
//! by the same inputs each time. `--seconds N` searches at random and keeps what it finds.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
    time::Instant,
};

use crate::{
    packages,
    sh::{self, Result, say},
    tools,
};

/// The release of cargo-fuzz that is built if none is installed.
const CARGO_FUZZ: &str = "0.13.2";
/// A single input that takes this long hangs.
const HANG_SECONDS: u32 = 10;
/// A target stays below 100 MiB; more than this is growth without a bound.
const MAX_MEMORY_MB: u32 = 600;
/// The longest input, in bytes.
const MAX_INPUT: u32 = 8192;
/// The seed of the fixed runs. Any number does, as long as it stays.
const SEED: u32 = 1;

/// A slow machine stops the fixed runs early, so that the test command has a bound. On two cores
/// none should come near it.
const MOST_SECONDS: u32 = 60;

/// Runs of a target that is not in [`RUNS`]: some seconds on one core.
const DEFAULT_RUNS: u32 = 10_000;
/// Runs of the targets that play a session, check a signature of Ed25519 or RSA, or read a mail for
/// each input, which takes several times as long. Measured on two busy cores, every target takes
/// between 0.1 and 5 seconds.
const RUNS: &[(&str, u32)] = &[
    ("anthropic", 4_000),
    ("browser_protocol", 4_000),
    ("cartesia", 4_000),
    ("deepgram_flux", 4_000),
    ("deepgram_listen", 4_000),
    ("deepgram_recorded", 4_000),
    ("gmail_answers", 4_000),
    ("gmail_mail", 4_000),
    ("oauth_answers", 4_000),
    ("oauth_callback", 4_000),
    ("provider_socket", 4_000),
    ("telegram", 4_000),
    ("webhook_discord", 5_000),
    ("webhook_jwks", 4_000),
    ("webhook_pubsub", 4_000),
];

/// How long a target runs.
#[derive(Clone, Copy)]
enum Effort {
    /// The same inputs each time, from the committed corpus alone.
    Fixed,
    /// So many seconds with a random seed; what is found becomes the start of the next search.
    Search(u32),
}

/// `[--seconds N] [TARGET ..]`; all targets if none is named.
pub fn run(args: &[String]) -> Result {
    let mut effort = Effort::Fixed;
    let mut wanted = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                effort = Effort::Search(number.ok_or("--seconds takes a whole number")?);
            }
            name => wanted.push(name.to_owned()),
        }
    }
    let targets = targets()?;
    if wanted.first().is_some_and(|name| name == "list") {
        targets.iter().for_each(|name| say(&format!("{name:24} {} runs", runs(name))));
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|name| !targets.contains(name)) {
        return Err(format!("there is no target {unknown}; `cargo xtask fuzz list` names them"));
    }
    fuzz(if wanted.is_empty() { targets } else { wanted }, effort)
}

fn runs(target: &str) -> u32 {
    RUNS.iter().find(|(name, _)| *name == target).map_or(DEFAULT_RUNS, |(_, runs)| *runs)
}

fn targets() -> Result<Vec<String>> {
    let folder = sh::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_suffix(".rs").map(str::to_owned)
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

fn fuzz(targets: Vec<String>, effort: Effort) -> Result {
    packages::require(packages::FUZZ)?;
    let work = sh::target().join("fuzz");
    build(&work)?;
    let programs = work.join(host()?).join("release");
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let each = match effort {
        Effort::Fixed => "a fixed number of runs".to_owned(),
        Effort::Search(seconds) => format!("{seconds} s each"),
    };
    say(&format!("==> {} fuzz targets, {each}, {workers} at a time", targets.len()));
    let (left, failed) = (Mutex::new(targets), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = left.lock().ok().and_then(|mut left| left.pop()) {
                    match one(&work, &programs, &name, effort) {
                        Ok(summary) => say(&format!("    {name}: {summary}")),
                        Err(failure) => {
                            say(&format!("    {name}: FAILED\n{failure}"));
                            failed.lock().into_iter().for_each(|mut failed| failed.push(name.clone()));
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    if failed.is_empty() { Ok(()) } else { Err(format!("fuzz targets failed: {}", failed.join(", "))) }
}

/// Builds every target. `--release` leaves the checks to the profile, which turns them on
/// everywhere except in a parser whose own assertions a stranger can fail. Coverage comes from the
/// compiler's own passes, whose names are not stable; memory errors are ruled out, since unsafe
/// code is forbidden.
fn build(work: &Path) -> Result {
    let args = ["fuzz", "build", "--release", "--sanitizer", "none"];
    let mut build = tools::command("cargo-fuzz", CARGO_FUZZ, &args)?;
    build.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR").arg("--target-dir").arg(work);
    sh::run("fuzz targets", &mut build)
}

/// The host triple, which is the folder that cargo-fuzz puts the programs in.
fn host() -> Result<String> {
    let output = sh::command("rustc", &["-vV"]).output().map_err(|error| format!("rustc: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".into())
}

/// Runs one target; its output goes to a log, whose end is the failure.
fn one(work: &Path, programs: &Path, name: &str, effort: Effort) -> Result<String> {
    let log = work.join(format!("{name}.log"));
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut command = Command::new(programs.join(name));
    let artifacts = folder(work, "artifacts", name)?;
    command
        .args(effort_arguments(work, name, effort)?)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-timeout={HANG_SECONDS}"))
        .arg(format!("-rss_limit_mb={MAX_MEMORY_MB}"))
        .arg(format!("-max_len={MAX_INPUT}"))
        .arg("-print_final_stats=1");
    let seeds = sh::root().join("fuzz/corpus").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).status();
    let status = status.map_err(|error| format!("{name}: {error}"))?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    if status.success() {
        let (inputs, memory) = (stat(&said, "number_of_executed_units"), stat(&said, "peak_rss_mb"));
        let seconds = started.elapsed().as_secs_f32();
        return Ok(format!("{inputs} inputs in {seconds:.1} s, {memory} MiB at most"));
    }
    Err(failure(&said))
}

/// The folder that new inputs go to, then the arguments. Fixed runs begin without the inputs of
/// earlier runs, or they would not be the same on two machines.
fn effort_arguments(work: &Path, name: &str, effort: Effort) -> Result<Vec<String>> {
    Ok(match effort {
        Effort::Fixed => {
            let found = work.join("fixed").join(name);
            let _ = fs::remove_dir_all(&found);
            let found = folder(work, "fixed", name)?;
            vec![
                found.display().to_string(),
                format!("-seed={SEED}"),
                format!("-runs={}", runs(name)),
                format!("-max_total_time={MOST_SECONDS}"),
            ]
        }
        Effort::Search(seconds) => {
            let found = folder(work, "corpus", name)?;
            vec![found.display().to_string(), format!("-max_total_time={seconds}")]
        }
    })
}

fn folder(work: &Path, kind: &str, name: &str) -> Result<PathBuf> {
    let folder = work.join(kind).join(name);
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// One of libFuzzer's final statistics.
fn stat(said: &str, name: &str) -> String {
    let line = said.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
    line.map_or("?", str::trim).to_owned()
}

/// What a log says of a failure: what panicked, without the frames below it, and the input.
fn failure(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    let panic = lines.iter().position(|line| line.contains("panicked at")).unwrap_or(lines.len());
    let end = panic.max(lines.len().saturating_sub(15));
    let frames = |line: &&&str| !line.starts_with("stack backtrace");
    let message = lines[panic..end].iter().take_while(frames).take(20);
    message.chain(&lines[end..]).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_runs_names_targets() {
        let targets = targets().unwrap();
        let unknown = RUNS.iter().find(|(name, _)| !targets.iter().any(|target| target == name));
        assert_eq!(unknown, None);
    }
}
