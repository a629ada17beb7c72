//! `cargo xtask mutants [BASE]`: mutations of the lines that differ from another commit, each of
//! which some test should notice.

use std::fs;

use crate::{
    sh::{self, Result, say},
    tools,
};

/// The release of cargo-mutants that is built if none is installed.
const CARGO_MUTANTS: &str = "27.1.0";
/// Whatever package is mutated depends on livos-core or is it.
const FEATURES: &str = "livos-core/redis,livos-core/postgres,livos-core/test-util";
/// A mutation that makes the tests of a crate run this long hangs them, in seconds.
const HANG_SECONDS: u32 = 300;

/// Tries mutations of what changed since `BASE` (`main` if it is not named); arguments after `--`
/// go to cargo-mutants, for example `-- --file crates/livos-core/src/embedded/engine.rs`, and then
/// replace the comparison.
pub fn run(args: &[String]) -> Result {
    let out = sh::target().join("mutants");
    let out_folder = out.display().to_string();
    let hang = HANG_SECONDS.to_string();
    let mut arguments = vec!["mutants", "--output", &out_folder, "--timeout", &hang, "--features", FEATURES];
    let difference = out.join("changed.diff").display().to_string();
    if let Some(extra) = args.strip_prefix(&["--".to_owned()]) {
        arguments.extend(extra.iter().map(String::as_str));
    } else {
        let base = args.first().map_or("main", String::as_str);
        let range = format!("{base}...HEAD");
        let output = sh::command("git", &["diff", &range, "--", "crates", "examples/vps"]).output();
        let output = output.map_err(|error| format!("git diff: {error}"))?;
        if !output.status.success() {
            return Err(format!("git diff {range}: {}", String::from_utf8_lossy(&output.stderr)));
        }
        if output.stdout.is_empty() {
            say(&format!("nothing changed since {base}"));
            return Ok(());
        }
        let written = fs::create_dir_all(&out).and_then(|()| fs::write(&difference, output.stdout));
        written.map_err(|error| format!("{difference}: {error}"))?;
        arguments.extend(["--in-diff", &difference]);
    }
    sh::run("mutations", &mut tools::command("cargo-mutants", CARGO_MUTANTS, &arguments)?)
}
