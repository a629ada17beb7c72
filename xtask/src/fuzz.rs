//! `cargo xtask fuzz`: every target of `fuzz/` for some seconds, from the committed corpus on.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Mutex,
    thread,
};

use crate::{
    packages,
    sh::{self, Result, say},
    tools,
};

/// The release of cargo-fuzz that is built where none is installed.
const CARGO_FUZZ: &str = "0.13.2";
/// A single input that takes this long hangs.
const HANG_SECONDS: u32 = 10;
/// Where memory has grown to this, something grows without bound: a target stays below 100 MiB.
const MAX_MEMORY_MB: u32 = 600;
/// The longest input.
const MAX_INPUT: u32 = 8192;

/// `[--seconds N] [TARGET ..]`; 20 s each, and all targets, where nothing is said.
pub fn run(args: &[String]) -> Result {
    let mut seconds = 20;
    let mut wanted = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--seconds" => {
                let number = args.next().and_then(|number| number.parse().ok());
                seconds = number.ok_or("--seconds takes a whole number")?;
            }
            name => wanted.push(name.to_owned()),
        }
    }
    let targets = targets()?;
    if wanted.first().is_some_and(|name| name == "list") {
        targets.iter().for_each(|name| say(name));
        return Ok(());
    }
    if let Some(unknown) = wanted.iter().find(|name| !targets.contains(name)) {
        return Err(format!("there is no target {unknown}; `cargo xtask fuzz list` names them"));
    }
    fuzz(if wanted.is_empty() { targets } else { wanted }, seconds)
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

fn fuzz(targets: Vec<String>, seconds: u32) -> Result {
    packages::require(packages::FUZZ)?;
    let work = sh::target().join("fuzz");
    // `--release` leaves checks to the profile, which has them everywhere but in a parser whose own
    // assertions a stranger can fail. Coverage comes from the compiler's own passes; memory errors
    // are ruled out, since unsafe code is forbidden. The names of the passes are not stable.
    let mut build =
        tools::command("cargo-fuzz", CARGO_FUZZ, &["fuzz", "build", "--release", "--sanitizer", "none"])?;
    build.env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR").arg("--target-dir").arg(&work);
    sh::run("fuzz targets", &mut build)?;

    let programs = work.join(host()?).join("release");
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    say(&format!("==> {} fuzz targets, {seconds} s each, {workers} at a time", targets.len()));
    let (left, failed) = (Mutex::new(targets), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(name) = left.lock().ok().and_then(|mut left| left.pop()) {
                    match one(&work, &programs, &name, seconds) {
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

/// The machine that the compiler builds for, which is where cargo-fuzz puts the programs.
fn host() -> Result<String> {
    let output = sh::command("rustc", &["-vV"]).output().map_err(|error| format!("rustc: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| "rustc does not name its host".into())
}

/// Runs one target; what it found is written to a log, whose end is the failure.
fn one(work: &Path, programs: &Path, name: &str, seconds: u32) -> Result<String> {
    let folder = |kind: &str| -> Result<PathBuf> {
        let folder = work.join(kind).join(name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    };
    let (found, artifacts) = (folder("corpus")?, folder("artifacts")?);
    let log = work.join(format!("{name}.log"));
    let output = File::create(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut command = Command::new(programs.join(name));
    command
        .arg(&found)
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={HANG_SECONDS}"))
        .arg(format!("-rss_limit_mb={MAX_MEMORY_MB}"))
        .arg(format!("-max_len={MAX_INPUT}"))
        .arg("-print_final_stats=1");
    let seeds = sh::root().join("fuzz/corpus").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).status();
    let status = status.map_err(|error| format!("{name}: {error}"))?;
    let said = fs::read_to_string(&log).unwrap_or_default();
    let stat = |name: &str| {
        let line = said.lines().rev().find_map(|line| line.strip_prefix(&format!("stat::{name}:")));
        line.map_or("?", str::trim).to_owned()
    };
    if status.success() {
        return Ok(format!(
            "{} inputs, {} MiB at most",
            stat("number_of_executed_units"),
            stat("peak_rss_mb")
        ));
    }
    Err(failure(&said))
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
