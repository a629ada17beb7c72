//! `livos-twins`: the simulated providers as a program of their own, on loopback.
//!
//! Prints one line of JSON with their base URLs on standard output. Each also answers `/twin/stats`
//! and takes faults at `/twin/faults`; see `livos_twins::admin`.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use livos_twins::{
    Profile,
    all::{HearingChoice, Twins, TwinsConfig, VoiceChoice},
    tones,
};
use serde_json::json;

/// Twins of Deepgram, Cartesia, Anthropic, Google, Gmail, Telegram and Discord, on loopback.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the Deepgram twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    deepgram: SocketAddr,
    /// Where the Cartesia twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    cartesia: SocketAddr,
    /// Where the Anthropic twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    anthropic: SocketAddr,
    /// Where the Google twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    google: SocketAddr,
    /// Where the Telegram twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    telegram: SocketAddr,
    /// Where the Discord twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    discord: SocketAddr,
    /// Where the Gmail twin listens.
    #[arg(long, default_value = "127.0.0.1:0")]
    gmail: SocketAddr,
    /// Where the Gmail twin posts its pushes, as `http://host:port/path`.
    #[arg(long)]
    gmail_push_to: Option<http::Uri>,
    /// `zero`, or `seed` for the waiting times of real providers.
    #[arg(long, default_value = "zero")]
    profile: Profile,
    /// All randomness comes from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `auto`, `sphinx`, `script` or `tones`.
    #[arg(long, default_value = "auto")]
    hearing: HearingChoice,
    /// `auto`, `flite` or `tones`.
    #[arg(long, default_value = "auto")]
    voice: VoiceChoice,
}

#[derive(Subcommand)]
enum Command {
    /// Writes a text in letter tones, as a WAV file.
    Say {
        /// The text.
        text: String,
        /// Samples a second.
        #[arg(long, default_value_t = 16_000)]
        rate: u32,
        /// The file.
        #[arg(long)]
        out: PathBuf,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "livos-twins: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> std::io::Result<()> {
    if let Some(Command::Say { text, rate, out }) = args.command {
        return std::fs::write(out, tones::wav(&tones::encode(&text, rate), rate));
    }
    let mut config = TwinsConfig::default();
    (config.profile, config.seed, config.hearing, config.voice) =
        (args.profile, args.seed, args.hearing, args.voice);
    config.listen = [Some(args.deepgram), Some(args.cartesia), Some(args.anthropic)];
    config.google = Some(args.google);
    config.telegram = Some(args.telegram);
    config.discord = Some(args.discord);
    (config.gmail, config.gmail_push_to) = (Some(args.gmail), args.gmail_push_to);
    let twins = Twins::start(config).await?;
    let addresses = twins.addresses();
    for simulated in twins.simulated() {
        writeln!(std::io::stderr(), "simulating {simulated}")?;
    }
    let line = json!({
        "deepgram": addresses.deepgram, "cartesia": addresses.cartesia, "anthropic": addresses.anthropic,
        "google": addresses.google, "gmail": addresses.gmail, "telegram": addresses.telegram, "discord": addresses.discord,
    });
    writeln!(std::io::stdout(), "{line}")?;
    std::io::stdout().flush()?;
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = term.recv() => {}
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    drop(twins);
    Ok(())
}
