//! `cargo xtask test`: what continuous integration runs, on a bare Debian or Ubuntu machine with
//! Rust, Node.js and apt.

use std::{
    fs::DirEntry,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use crate::{
    packages,
    sh::{self, Result, say},
    tools, web,
};

/// The releases of tools that are built if none is installed.
const CARGO_DENY: &str = "0.20.2";
const CARGO_HACK: &str = "0.6.46";
const CRATES: [&str; 4] = ["livos-core", "livos-voice", "livos-agent", "livos-integrations"];

type Step = (&'static str, &'static str, fn() -> Result);

const STEPS: &[Step] = &[
    ("packages", "Debian packages that the tests use", || packages::require(packages::TEST)),
    ("fmt", "format", format),
    ("web", "web client: types, type check, unit tests, build", web_client),
    ("clippy", "lints", clippy),
    ("doc", "documentation", doc),
    ("unit", "unit and integration tests", unit),
    ("doctest", "documentation examples", || {
        cargo("documentation examples", &["test", "--quiet", "--workspace", "--doc", "--all-features"])
    }),
    ("tidy", "the shape of the house", || {
        cargo("the shape of the house", &["test", "--quiet", "-p", "xtask", "--test", "tidy"])
    }),
    ("features", "each feature alone", features),
    ("deny", "licences, sources and banned crates", deny),
    ("package", "crates as they would be published", package),
    ("sdk", "the vendors' SDKs against the twins", sdk),
    ("browser", "`up`, and the page in a real Chromium", browser),
    ("fuzz", "a fixed number of runs of every fuzz target", || crate::fuzz::run(&[])),
];

/// Runs the named steps, or all of them.
pub fn run(names: &[String]) -> Result {
    if names.first().is_some_and(|name| name == "list") {
        STEPS.iter().for_each(|(name, what, _)| say(&format!("{name:10} {what}")));
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|(known, ..)| known != *name)) {
        return Err(format!("there is no step {unknown}; `cargo xtask test list` names them"));
    }
    let started = Instant::now();
    let mut times = Vec::new();
    for (name, _, step) in
        STEPS.iter().filter(|(name, ..)| names.is_empty() || names.iter().any(|n| n == name))
    {
        let at = Instant::now();
        step()?;
        times.push(format!("{name} {:.0} s", at.elapsed().as_secs_f32()));
    }
    say(&format!("\nAll steps passed in {:.0} s: {}", started.elapsed().as_secs_f32(), times.join(", ")));
    Ok(())
}

fn cargo(what: &str, args: &[&str]) -> Result {
    sh::run(what, &mut sh::cargo(args))
}

fn format() -> Result {
    cargo("format", &["fmt", "--all", "--check"])?;
    cargo("format of the fuzz targets", &["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"])
}

fn web_client() -> Result {
    web::check_types()?;
    web::test()?;
    web::build().map(|_| ())
}

fn clippy() -> Result {
    cargo(
        "lints",
        &["clippy", "--quiet", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"],
    )
}

fn doc() -> Result {
    let mut doc = sh::cargo(&["doc", "--quiet", "--workspace", "--no-deps", "--all-features"]);
    sh::run("documentation", doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The backends of a server, which the tests start themselves, and traces, whose collector the
/// tests play.
const FEATURES: &str = "livos-core/redis,livos-core/postgres,livos-core/test-util,livos-vps/otel";

fn unit() -> Result {
    let runner: &[&str] = if sh::has("cargo-nextest", "--version") {
        // A whole matrix takes longer than a test that hangs may.
        let profile = if std::env::var_os("LIVOS_MATRIX").is_some() { "long" } else { "default" };
        &[
            "nextest",
            "run",
            "--workspace",
            "--features",
            FEATURES,
            "--config-file",
            ".ci/nextest.toml",
            "--profile",
            profile,
        ]
    } else {
        &["test", "--workspace", "--features", FEATURES, "--lib", "--bins", "--tests", "--examples"]
    };
    let mut tests = sh::cargo(runner);
    // The step `packages` installed the speech packages: tests that use them must not fall back.
    sh::run("unit and integration tests", tests.env("LIVOS_REQUIRE_SPEECH", "1"))
}

/// Each feature of each crate alone, none, the default ones, and all.
fn features() -> Result {
    let args = ["hack", "check", "--quiet", "--lib", "--feature-powerset", "--depth", "1"];
    let mut hack = tools::command("cargo-hack", CARGO_HACK, &args)?;
    CRATES.iter().for_each(|name| {
        hack.args(["-p", name]);
    });
    sh::run("each feature alone", &mut hack)
}

fn deny() -> Result {
    // Advisories change by the hour, so the same code would pass today and fail tomorrow. A release
    // checks them.
    let args = ["--log-level", "error", "check", "bans", "licenses", "sources"];
    sh::run("licences, sources and banned crates", &mut tools::command("cargo-deny", CARGO_DENY, &args)?)
}

fn package() -> Result {
    forget_packages()?;
    let mut package = sh::cargo(&["package", "--quiet", "--allow-dirty"]);
    CRATES.iter().for_each(|name| {
        package.args(["-p", name]);
    });
    sh::run("crates as they would be published", &mut package)
}

/// Cargo verifies our crates against each other through a registry in the target folder, and
/// unpacks each version once into its home. Until a version is published its content changes, so
/// what an earlier run unpacked must be deleted.
fn forget_packages() -> Result {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let Some(registry) = home.map(|home| home.join("registry")) else { return Ok(()) };
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten();
    let starts = |entry: &DirEntry, with: &str| entry.file_name().to_string_lossy().starts_with(with);
    // A registry that is a folder has no host before the `-` of its name.
    let ours = ["src", "cache"]
        .iter()
        .flat_map(|kind| entries(&registry.join(kind)))
        .filter(|place| starts(place, "-"))
        .flat_map(|place| entries(&place.path()))
        .filter(|package| CRATES.iter().any(|name| starts(package, &format!("{name}-"))));
    for package in ours {
        let path = package.path();
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        removed.map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn sdk() -> Result {
    cargo("build the twins", &["build", "--quiet", "-p", "livos-twins"])?;
    let folder = sh::root().join("examples/twins/sdk");
    let venv = sh::target().join("sdk-venv");
    let python = venv.join("bin/python");
    let lock = std::fs::read(folder.join("requirements.txt"))
        .map_err(|error| format!("requirements.txt: {error}"))?;
    let stamp = venv.join("requirements.txt");
    if !std::fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        sh::run("virtual environment", sh::command("python3", &["-m", "venv", "--clear"]).arg(&venv))?;
        let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"];
        sh::run(
            "the vendors' SDKs",
            Command::new(&python).args(install).arg(folder.join("requirements.txt")),
        )?;
        std::fs::write(&stamp, lock).map_err(|error| format!("{}: {error}", stamp.display()))?;
    }
    let twins = sh::target().join("debug/livos-twins");
    sh::run(
        "the vendors' SDKs against the twins",
        Command::new(&python).arg(folder.join("check_sdks.py")).arg(twins),
    )
}

/// Starts the deployment with `up` as a person would, reads the login link that it prints, and runs
/// the browser test against it.
fn browser() -> Result {
    let wav = sh::target().join("browser-test.wav");
    speech_file(&wav)?;
    let mut server = Deployment::start()?;
    let url = server.login_link()?;
    let mut test = sh::command("node", &["e2e/voice.mjs"]);
    test.current_dir(web::source()).env("LIVOS_URL", url).env("LIVOS_WAV", &wav);
    sh::run("the page in a real Chromium", &mut test)
}

/// A sentence of real speech between silences, in the format of Chromium's simulated microphone.
fn speech_file(wav: &std::path::Path) -> Result {
    let spoken = wav.with_extension("spoken.wav");
    let sentence = "please tell me a long story about the sea";
    sh::run(
        "speech",
        sh::command("espeak-ng", &["-v", "en-us", "-s", "150", "-w"]).arg(&spoken).arg(sentence),
    )?;
    let mut pad = sh::command("sox", &[]);
    pad.arg(&spoken).args(["-r", "48000", "-c", "1", "-b", "16"]).arg(wav).args(["pad", "0.4", "1.0"]);
    sh::run("speech as a microphone", &mut pad)
}

/// A running `cargo xtask up`, ended when dropped.
struct Deployment {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Deployment {
    fn start() -> Result<Self> {
        say("==> cargo xtask up");
        let mut up = sh::cargo(&["xtask", "up", "--", "--listen", "127.0.0.1:0"]);
        // Never the store of the person who works on this machine.
        up.env("LIVOS_STORE", sh::target().join("browser-test.redb"));
        let mut child =
            up.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo xtask up: {error}"))?;
        let stdout = child.stdout.take().ok_or("cargo xtask up: no output")?;
        Ok(Self { child, lines: BufReader::new(stdout).lines() })
    }

    /// The URL that the server prints.
    fn login_link(&mut self) -> Result<String> {
        for line in self.lines.by_ref() {
            let line = line.map_err(|error| format!("cargo xtask up: {error}"))?;
            if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
                return Ok(url.to_owned());
            }
        }
        Err("cargo xtask up ended before it printed its link".into())
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        // SIGTERM first, because the drain is part of the test. A server that does not end in time
        // is killed.
        let _ = sh::command("kill", &["-TERM", &self.child.id().to_string()]).status();
        let until = Instant::now() + std::time::Duration::from_secs(15);
        while Instant::now() < until {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
