//! The command line, and the configuration that it leads to.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use tower::BoxError;

use crate::{
    config::{ConfigError, Document, Environment},
    http,
    server::Config,
};

/// The configuration file that is read if no other is named and it exists.
const DEFAULT_FILE: &str = "livos.toml";

/// A voice-first personal agent for a small server.
///
/// Keys and addresses come from the configuration file or the environment: DEEPGRAM_API_KEY,
/// CARTESIA_API_KEY, ANTHROPIC_API_KEY, DEEPGRAM_URL, CARTESIA_URL, ANTHROPIC_BASE_URL,
/// GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, GOOGLE_URL, TELEGRAM_BOT_TOKEN, DISCORD_TOKEN,
/// LIVOS_LISTEN, LIVOS_TOKEN, LIVOS_STORE, LIVOS_KEYS, LIVOS_ARCHIVE, REDIS_URL. The environment
/// overrides the file. A provider with neither key nor address is simulated. RUST_LOG sets what is
/// logged, LIVOS_LOG_FORMAT (text or json) how.
///
/// Exit codes: 0 after a signal, 1 if it can't start, 2 for a wrong argument, 75 if it held too
/// much memory and wants to be started again.
#[derive(Parser)]
#[command(version)]
pub struct Arguments {
    /// The configuration file; without it, livos.toml in this folder if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address and port to listen on; overrides the environment and the file.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Prints a new login link of the server that is running with this configuration.
    Token,
}

impl Arguments {
    /// Whether a running server is asked for a login link.
    pub fn asks_for_link(&self) -> bool {
        matches!(self.command, Some(Command::Token))
    }

    /// Prints a new login link of the running server.
    pub async fn print_link(self) -> Result<ExitCode, BoxError> {
        let link = http::ask_for_link(&self.config()?.control_socket()?).await?;
        std::io::stdout().write_all(link.as_bytes())?;
        Ok(ExitCode::SUCCESS)
    }

    /// What the file, the environment and the arguments say together.
    pub fn config(self) -> Result<Config, BoxError> {
        let Self { config, listen, .. } = self;
        let file = config.or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()));
        let text = file.as_deref().map_or(Ok(String::new()), read)?;
        let lookup = |name: &str| match &listen {
            Some(listen) if name == "LIVOS_LISTEN" => Some(listen.clone()),
            _ => std::env::var(name).ok(),
        };
        let document = Document::parse(&text, file.as_deref(), Environment::new(&lookup))?;
        Ok(Config::read(document)?)
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{} can't be read: {error}", path.display())))
}
