//! The arguments of the bench.

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser, Clone)]
/// What is measured, and with which programs.
pub struct Args {
    /// Turns a profile and mode.
    #[arg(long, default_value_t = 200)]
    pub turns: usize,
    /// Conversations at one time.
    #[arg(long, default_value_t = 4)]
    pub concurrency: usize,
    /// `zero`, `seed`, or both.
    #[arg(long, value_delimiter = ',', default_value = "zero,seed")]
    pub profiles: Vec<String>,
    /// `push_to_talk`, `open_microphone`, or both.
    #[arg(long, value_delimiter = ',', default_value = "push_to_talk,open_microphone")]
    pub modes: Vec<String>,
    /// Where the built programs are; by default the folder of this one.
    #[arg(long)]
    pub bin: Option<PathBuf>,
    /// The server says one of three short sentences where an answer is late.
    #[arg(long)]
    pub openers: bool,
    /// Seed of the twins.
    #[arg(long, default_value_t = 7)]
    pub seed: u64,
}

impl Args {
    /// A program that `cargo xtask bench` has built.
    pub fn program(&self, name: &str) -> PathBuf {
        let here = || Some(std::env::current_exe().ok()?.parent()?.to_owned());
        let folder = self.bin.clone().or_else(here).expect("a folder with programs");
        std::fs::canonicalize(folder.join(name))
            .expect("the built programs; run `cargo xtask bench voice_to_voice`")
    }
}
