//! `cargo xtask up | test | check | bench | web | fuzz | house`: the scripts of the project.

mod bench;
mod fuzz;
mod house_crates;
mod house_report;
mod mutants;
mod packages;
mod progress;
mod sh;
mod test;
mod tools;
mod up;
mod web;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask <command>

  up [-- ARGS]     build the web client and the server, and start the complete deployment; ARGS go to livos-vps
  test [STEP ..]   everything that continuous integration checks, or only the steps named (`test list` names them)
  check            format, lints, documentation and the tidy test: what to run before a commit
  bench [NAME ..]  the measured claims, printed as tables (`bench list` names them)
  fuzz [--seconds N] [TARGET ..]
                   a fixed number of runs of every fuzz target, or N seconds at random (`fuzz list`)
  mutants [BASE]   mutations of what changed since BASE, main if none is named
  house [--root DIR ..] [--details]
                   sizes, circles, names and prose as a table, with a column for each checkout
  house --crates [--root DIR] [--only CRATE] [--count]
                   crates, seconds and size of a clean build for each feature set; --count does not build
  web [types]      build the web client; `types` writes its protocol types from the Rust types
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("up") => up::run(rest),
        Some("test") => test::run(rest),
        Some("check") => test::run(&["fmt", "clippy", "doc", "tidy"].map(str::to_owned)),
        Some("bench") => bench::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("house") => house_report::run(rest),
        Some("mutants") => mutants::run(rest),
        Some("web") if rest.first().is_some_and(|arg| arg == "types") => web::write_types(),
        Some("web") => web::build().map(|_| ()),
        _ => {
            sh::say(HELP);
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            sh::say(&format!("\nfailed: {failure}"));
            ExitCode::FAILURE
        }
    }
}
