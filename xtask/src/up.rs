//! `cargo xtask up`: from a fresh clone to a running deployment.

use std::{net::ToSocketAddrs, path::Path, process::Command};

use crate::{
    packages::{self, Outcome},
    progress,
    sh::{self, Result, say},
    web,
};

/// The arguments of the server that take a value. `--help` and commands go to it as they are.
const WITH_VALUE: [&str; 2] = ["--config", "--listen"];
/// The server's commands.
const COMMANDS: [&str; 1] = ["token"];

/// Builds what is missing and becomes the server.
pub fn run(args: &[String]) -> Result {
    let args = args.strip_prefix(&["--".to_owned()]).unwrap_or(args);
    check(args)?;
    speech();
    if let Err(failure) = web::build() {
        say(&format!("The web client could not be built ({failure}); the server starts without it."));
    }
    say("==> server: release build, some minutes the first time");
    progress::build("livos-vps", &["--release"])?;
    become_server(Command::new(sh::target().join("release/livos-vps")).args(args))
}

/// Refuses now what the server would refuse after a build of minutes.
fn check(args: &[String]) -> Result {
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (arg.as_str(), None),
        };
        if ["--help", "-h", "--version", "-V"].contains(&name) || COMMANDS.contains(&name) {
            continue;
        }
        if !WITH_VALUE.contains(&name) {
            return Err(format!("livos-vps has no argument {name}; it knows {}", WITH_VALUE.join(" and ")));
        }
        let value = value.or_else(|| args.next().cloned()).ok_or_else(|| format!("{name} needs a value"))?;
        match name {
            "--config" if !Path::new(&value).is_file() => return Err(format!("there is no file {value}")),
            "--listen" if value.to_socket_addrs().is_err() => {
                return Err(format!("{value} is not an address and port, like 127.0.0.1:8420"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The demo hears and speaks with these packages; without them it uses a script and tones.
fn speech() {
    match packages::ensure(packages::SPEECH) {
        Ok(Outcome::Present) => {}
        Ok(Outcome::Missing(line)) => say(&format!(
            "The simulated providers answer a script in tones. To let them hear and speak, run: {line}"
        )),
        Err(failure) => say(&format!(
            "The speech packages could not be installed ({failure}); the demo uses a script and tones."
        )),
    }
}

/// Replaces this process, so that signals reach the server and not a parent.
#[cfg(unix)]
fn become_server(command: &mut Command) -> Result {
    use std::os::unix::process::CommandExt;
    Err(format!("the server could not be started: {}", command.exec()))
}

#[cfg(not(unix))]
fn become_server(command: &mut Command) -> Result {
    sh::run("server", command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_args(args: &[&str], refused: Option<&str>) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let failure = check(&args).err();
        assert_eq!(failure.is_some(), refused.is_some(), "{args:?}: {failure:?}");
        assert!(failure.unwrap_or_default().contains(refused.unwrap_or_default()), "{args:?}");
    }

    #[test]
    fn wrong_arguments_are_refused_before_the_build() {
        check_args(&[], None);
        check_args(&["--help"], None);
        check_args(&["--config", "Cargo.toml", "token"], None);
        check_args(&["tokens"], Some("no argument tokens"));
        check_args(&["--listen", "127.0.0.1:0", "--config=Cargo.toml"], None);
        check_args(&["--port", "80"], Some("no argument --port"));
        check_args(&["--listen"], Some("needs a value"));
        check_args(&["--listen", "80"], Some("not an address"));
        check_args(&["--config", "/nowhere/livos.toml"], Some("no file /nowhere"));
    }

    /// The options with a value in `Arguments`, and the variants of `Command`.
    fn arguments(item: &syn::Item) -> Vec<String> {
        let has = |field: &&syn::Field| field.attrs.iter().any(|attribute| attribute.path().is_ident("arg"));
        let option = |ident: &syn::Ident| format!("--{}", ident.to_string().replace('_', "-"));
        match item {
            syn::Item::Struct(item) if item.ident == "Arguments" => {
                item.fields.iter().filter(has).filter_map(|field| field.ident.as_ref()).map(option).collect()
            }
            syn::Item::Enum(item) if item.ident == "Command" => {
                item.variants.iter().map(|variant| variant.ident.to_string().to_lowercase()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// A new argument of the server is added to the check.
    #[test]
    fn the_arguments_are_those_of_the_server() {
        let file = sh::root().join("examples/vps/src/arguments.rs");
        let file = syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap();
        let names: Vec<String> = file.items.iter().flat_map(arguments).collect();
        assert_eq!(names, [&WITH_VALUE[..], &COMMANDS[..]].concat());
    }
}
