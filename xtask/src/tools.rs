//! Cargo subcommands, built from their sources if they are not installed.

use std::process::Command;

use crate::sh::{self, Result};

/// A command of `name`, which is built in this version if it is not on the PATH.
pub fn command(name: &str, version: &str, args: &[&str]) -> Result<Command> {
    let tools = sh::target().join("tools");
    if !sh::has(name, "--version") && !tools.join("bin").join(name).exists() {
        let mut install = sh::cargo(&["install", "--quiet", "--locked", "--version", version, "--root"]);
        sh::run(&format!("build {name}"), install.arg(&tools).arg(name))?;
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = sh::command(name, args);
    command.env("PATH", format!("{path}:{}", tools.join("bin").display()));
    Ok(command)
}
