//! The complete LivOS deployment: web client, voice, chat, health and metrics in one process.

mod accounts;
mod arguments;
mod channels;
mod chat;
mod config;
mod conversation;
mod durable;
mod feature;
mod google;
mod health;
mod hooks;
mod http;
mod ops;
mod providers;
mod server;
mod usage;
mod voice;

use std::{error::Error, io::Write, process::ExitCode};

use clap::Parser;
use livos_core::{http::describe, supervise::install_panic_hook};

use crate::{
    arguments::Arguments,
    ops::{LogFormat, Logs},
};

#[tokio::main]
async fn main() -> ExitCode {
    install_panic_hook();
    let arguments = Arguments::parse();
    if arguments.asks_for_link() {
        return arguments.print_link().await.unwrap_or_else(|error| complain(&*error));
    }
    let started = arguments.config().and_then(|config| Ok((Logs::start(&config.ops)?, config)));
    let (logs, config) = match started {
        Ok(started) => started,
        Err(error) => return complain(&*error),
    };
    let for_people = config.ops.log.format == LogFormat::Text;
    let code = server::run(config).await.unwrap_or_else(|error| {
        if for_people {
            return complain(&*error);
        }
        tracing::error!(error = describe(&*error), "the server could not go on");
        ExitCode::FAILURE
    });
    logs.end().await;
    code
}

fn complain(error: &(dyn Error + 'static)) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "livos-vps: {}", describe(error));
    ExitCode::FAILURE
}
