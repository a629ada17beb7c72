//! A build that says how far it is: cargo's own progress bar is lost when output is not a terminal,
//! and its list of 300 crates hides everything else when it is.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use crate::sh::{self, Result, say};

/// How often progress is told.
const INTERVAL: Duration = Duration::from_secs(10);

/// Builds one package and its dependencies, with `args` for cargo. Nothing is printed for a build
/// that ends within [`INTERVAL`].
pub fn build(package: &str, args: &[&str]) -> Result {
    let total = packages(package, args);
    let mut cargo =
        sh::cargo(&["build", "--message-format", "json-render-diagnostics", "--quiet", "-p", package]);
    let started = Instant::now();
    let mut child = cargo
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cargo build: could not start: {error}"))?;
    let output = child.stdout.take().ok_or("cargo build: no output")?;
    let (built, (ended, end)) = (&Mutex::new(BTreeSet::new()), mpsc::channel::<()>());
    thread::scope(|scope| {
        scope.spawn(move || {
            while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let count = built.lock().unwrap_or_else(PoisonError::into_inner).len();
                let of = total.map_or_else(String::new, |total| format!(" of {total}"));
                let seconds = started.elapsed().as_secs();
                say(&format!("    {package}: {count}{of} crates built, {seconds} s"));
            }
        });
        for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
            if let Some(id) = artifact(&line) {
                built.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
            }
        }
        drop(ended);
    });
    let status = child.wait().map_err(|error| format!("cargo build: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{package} does not build ({status})")) }
}

/// The package that a message of cargo says is built. Its id holds no escaped character.
fn artifact(message: &str) -> Option<&str> {
    let rest = message.strip_prefix("{\"reason\":\"compiler-artifact\",\"package_id\":\"")?;
    rest.split('"').next()
}

/// How many packages will be built, itself included; `None` if cargo does not say.
fn packages(package: &str, args: &[&str]) -> Option<usize> {
    let features: Vec<&str> = args.iter().copied().filter(|arg| *arg != "--release").collect();
    let mut tree = sh::cargo(&["tree", "--quiet", "--prefix", "none", "--edges", "no-dev", "-p", package]);
    let output = tree.args(features).stderr(Stdio::null()).output().ok()?;
    let lines = String::from_utf8(output.stdout).ok()?;
    let names: BTreeSet<String> =
        lines.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
    output.status.success().then_some(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_artifacts_count() {
        let built = r#"{"reason":"compiler-artifact","package_id":"registry+https://github.com/rust-lang/crates.io-index#http@1.5.0","manifest_path":""}"#;
        assert_eq!(artifact(built), Some("registry+https://github.com/rust-lang/crates.io-index#http@1.5.0"));
        assert_eq!(artifact(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn the_deployment_has_many_packages() {
        assert!(packages("livos-vps", &["--release"]).is_some_and(|count| count > 100));
    }
}
