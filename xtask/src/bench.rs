//! `cargo xtask bench`: the measured claims of the project.

use crate::sh::{self, Result, say};

type Bench = (&'static str, &'static str, &'static [&'static str]);

const BENCHES: &[Bench] = &[
    (
        "vad_rates",
        "misses and false alarms of the detectors in noise",
        &["run", "--release", "-p", "livos-benches", "--bin", "vad_rates"],
    ),
    (
        "frame_path",
        "time and allocations of one 20 ms frame",
        &["bench", "-p", "livos-benches", "--bench", "frame_path"],
    ),
    (
        "voice_to_voice",
        "latency of whole turns against twins over TCP",
        &["run", "--release", "-p", "livos-benches", "--bin", "voice_to_voice"],
    ),
    (
        "queue",
        "one job from enqueue to ack, in each backend",
        &["bench", "-p", "livos-benches", "--bench", "queue"],
    ),
    (
        "queue_table",
        "durable enqueues a second compared with BullMQ, memory of a job, recovery",
        &["run", "--release", "-p", "livos-benches", "--bin", "queue_table"],
    ),
    (
        "webhook",
        "verifying and refusing one delivery, compared with the public crates",
        &["bench", "-p", "livos-benches", "--bench", "webhook"],
    ),
    (
        "load",
        "deliveries verified, durable and acknowledged over TCP, with a slow agent",
        &["run", "--release", "-p", "livos-benches", "--bin", "load"],
    ),
];

/// Runs the named benches, or all of them. Arguments after `--` go to each bench.
pub fn run(args: &[String]) -> Result {
    let (names, extra) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &[] as &[String]),
    };
    if names.first().is_some_and(|name| name == "list") {
        BENCHES.iter().for_each(|(name, what, _)| say(&format!("{name:16} {what}")));
        return Ok(());
    }
    if let Some(unknown) = names.iter().find(|name| BENCHES.iter().all(|(known, ..)| known != *name)) {
        return Err(format!("there is no bench {unknown}; `cargo xtask bench list` names them"));
    }
    sh::run(
        "build the server and the twins",
        &mut sh::cargo(&["build", "--release", "-p", "livos-vps", "-p", "livos-twins"]),
    )?;
    for (name, what, command) in
        BENCHES.iter().filter(|(name, ..)| names.is_empty() || names.iter().any(|n| n == name))
    {
        if *name == "queue_table" {
            peer()?;
        }
        let mut cargo = sh::cargo(command);
        if !extra.is_empty() {
            cargo.arg("--").args(extra);
        }
        sh::run(&format!("{name}: {what}"), &mut cargo)?;
    }
    Ok(())
}

/// Installs BullMQ in its locked version, for the comparison. Without Node.js its column is empty.
fn peer() -> Result {
    if !sh::has("npm", "--version") {
        say("npm was not found: BullMQ is not measured.");
        return Ok(());
    }
    let mut npm = sh::command("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
    sh::run("BullMQ: npm ci", npm.current_dir(sh::root().join("benches/bullmq")))
}
