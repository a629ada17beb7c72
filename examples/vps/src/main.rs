//! The complete LivOS deployment: web client, voice, chat, health and metrics in one process.

mod app;
mod assets;
mod auth;
mod channels;
mod chat;
mod config;
mod discord;
mod durable;
mod gmail;
mod health;
mod hooks;
mod https;
mod logs;
mod news;
mod notes;
mod oauth;
mod ops;
mod pairing;
mod providers;
mod secrets;
mod serve;
mod telegram;
#[cfg(feature = "otel")]
mod telemetry;
mod usage;
mod voice;

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use clap::Parser;
use livos_core::{
    drain::{Drain, Termination},
    supervise::{Load, Supervisor, install_panic_hook},
};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::BoxError;

use crate::{
    app::App,
    auth::Auth,
    config::{Config, LogFormat},
    durable::{Durable, Jobs},
    gmail::Mailbox,
    health::Dependencies,
    logs::Logs,
    news::News,
    oauth::Google,
    pairing::Desk,
    providers::Providers,
};

/// A voice-first personal agent for a small server.
///
/// Keys and addresses come from the configuration file or the environment: DEEPGRAM_API_KEY,
/// CARTESIA_API_KEY, ANTHROPIC_API_KEY, DEEPGRAM_URL, CARTESIA_URL, ANTHROPIC_BASE_URL,
/// GOOGLE_CLIENT_ID, GOOGLE_CLIENT_SECRET, GOOGLE_URL, TELEGRAM_BOT_TOKEN, DISCORD_TOKEN,
/// LIVOS_LISTEN, LIVOS_TOKEN, LIVOS_STORE, LIVOS_KEYS, LIVOS_ARCHIVE, REDIS_URL. The environment
/// overrides the file. A provider with neither key nor address is simulated. RUST_LOG sets what is
/// logged, LIVOS_LOG_FORMAT (text or json) how.
///
/// Exit codes: 0 after a signal, 1 when it can't start, 2 for a wrong argument, 75 when it held too
/// much memory and wants to be started again.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// The configuration file; without it, livos.toml in this folder where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address and port to listen on, before the environment and the file.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

/// Where the configuration is looked for when no file is named.
const DEFAULT_FILE: &str = "livos.toml";

#[tokio::main]
async fn main() -> ExitCode {
    install_panic_hook();
    let (config, logs) = match start(&Args::parse()) {
        Ok(started) => started,
        Err(error) => return complain(&*error),
    };
    let for_people = config.log.format == LogFormat::Text;
    let code = run(config).await.unwrap_or_else(|error| {
        if for_people {
            return complain(&*error);
        }
        tracing::error!(error = explain(&*error), "the server could not go on");
        ExitCode::FAILURE
    });
    logs.end().await;
    code
}

fn complain(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "livos-vps: {}", explain(error));
    ExitCode::FAILURE
}

/// An error and its causes.
fn explain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// What the file, the environment and the arguments say together, and the log that they ask for.
fn start(args: &Args) -> Result<(Config, Logs), BoxError> {
    let file = args.config.clone().or_else(|| Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.exists()));
    let mut config = config::resolve(file.as_deref(), |name| std::env::var(name).ok())?;
    if let Some(listen) = &args.listen {
        config.server.listen = config::parse_listen(listen)?;
    }
    let logs = Logs::start(&config)?;
    Ok((config, logs))
}

async fn run(config: Config) -> Result<ExitCode, BoxError> {
    let (manager, load, mut signals) = (ops::manager()?, Load::new(), Termination::listen()?);
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder()?;
    let listener = TcpListener::bind(config.server.listen)
        .await
        .map_err(|error| format!("can't listen on {}: {error}", config.server.listen))?;
    let address = listener.local_addr()?;
    let apps = channels::apps(&config)?;
    let mut kinds = hooks::kinds(&config.webhooks)?;
    kinds.extend(channels::kinds(&apps));
    kinds.extend([gmail::kind()]);
    let durable = Arc::new(Durable::open(&config, kinds).await?);

    let (supervisor, (drain, signal)) = (Supervisor::new(), Drain::new());
    let store = Arc::clone(&durable.store);
    let (accounts, meter) = usage::open(&config, store, &supervisor, &signal).await?;
    let providers = providers::build(&config, &accounts).await?;

    let dependencies = Dependencies::new(providers.connector.clone(), providers.dependencies.clone());
    let (watched, watch_signal, interval) =
        (dependencies.clone(), signal.clone(), config.server.probe_interval);
    supervisor.spawn_restarting("provider probes", signal.clone(), move || {
        watched.clone().watch(interval, watch_signal.clone())
    });
    let news = (!apps.is_empty()).then(|| News::new(Arc::clone(&durable.queue)));
    let (secrets, base) = (durable.secrets.clone(), base(&config, address));
    let google = Google::open(&config.google, &base, secrets, news.clone(), &supervisor)?;
    let tokens = google.as_ref().filter(|_| config.gmail.watch).map(Google::tokens);
    let mailbox = match tokens.zip(news) {
        Some((tokens, news)) => Some(Mailbox::new(&config.gmail, tokens, &durable, news)?),
        None => None,
    };
    let forwarded = config.server.forwarded_header.as_deref().map(http::HeaderName::try_from).transpose();
    let forwarded = forwarded.map_err(|error| format!("server.forwarded_header: {error}"))?;
    let hooks = hooks::router(&durable.queue, &config.webhooks, forwarded, config.google.url.as_deref())?;
    let pushes = mailbox.as_ref().map(Mailbox::pushes);
    let mut jobs = hooks::jobs(Jobs::default(), &config.webhooks, &providers.responder, pushes.as_ref())?;
    let pairing = Desk::open(&config.pairing, apps, &durable, &supervisor).await?;
    if let Some(desk) = &pairing {
        channels::listen(desk.apps(), &durable, &config, &supervisor, &signal)?;
        jobs = channels::jobs(jobs, desk, &durable, &providers.responder, &providers.notes);
        jobs = news::jobs(jobs, desk, &durable);
    }
    Arc::clone(&durable).start(jobs, &config, &supervisor, &load, &signal);
    if let Some(mailbox) = mailbox {
        let draining = signal.clone();
        supervisor.spawn_restarting("mailbox", signal.clone(), move || mailbox.clone().run(draining.clone()));
    }
    let auth = Arc::new(auth(&config));
    announce(&config, address, &auth, &providers)?;
    let Providers { stt, tts, responder, simulated, twins, notes, .. } = providers;
    // The bookkeeper of usage ends once nobody is left who could use something; those who need this
    // one have their own.
    drop(notes);
    let app = App {
        auth,
        allowed_origins: allowed_origins(&config),
        dependencies,
        durable: Arc::clone(&durable),
        accounts,
        google,
        pairing,
        responder,
        stt,
        tts,
        voice: Arc::new(voice::Settings::new(&config, simulated, meter)),
        voice_permits: Arc::new(Semaphore::new(config.server.max_voice_sessions)),
        supervisor: supervisor.clone(),
        load: load.clone(),
        drain: signal.clone(),
        metrics,
    };
    let serving = serve::serve(
        listener,
        app::router(app, hooks),
        config.server.max_connections,
        signal.clone(),
        config.server.drain_timeout,
    );
    supervisor.spawn("http server", supervisor.pulse("http server", ops::PATIENCE).beating(serving));
    manager.ready(&format!("listening on {address}"));
    ops::report(&manager, &supervisor, &load, &signal);

    let ops::Ending { reason, code } = ops::ending(&config.memory, load, signal, &mut signals).await?;
    tracing::info!(reason, "draining: no new work; what runs may finish");
    manager.stopping("draining");
    drain.begin();
    tokio::select! {
        left = supervisor.shut_down(config.server.drain_timeout) => {
            if !left.is_empty() {
                tracing::warn!(?left, "these tasks did not end in time and were cut");
            }
        }
        // Somebody is in a hurry.
        again = signals.next() => tracing::warn!(reason = again?, "a second signal: leaving at once"),
    }
    // Last, because whatever ran until now may have had something to write.
    durable.close().await;
    drop(twins);
    tracing::info!("stopped");
    Ok(code)
}

fn auth(config: &Config) -> Auth {
    let secure = config.server.public_url.as_ref().is_some_and(|url| url.starts_with("https://"));
    Auth::new(config.server.token.as_ref(), secure)
}

fn allowed_origins(config: &Config) -> Arc<[String]> {
    config.server.allowed_origins.iter().chain(&config.server.public_url).cloned().collect()
}

/// This server's address as browsers see it.
fn base(config: &Config, address: SocketAddr) -> String {
    let public = config.server.public_url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
    public.unwrap_or_else(|| format!("http://{address}"))
}

/// Prints the one line that a person needs, on standard output; everything else is log.
fn announce(
    config: &Config,
    address: SocketAddr,
    auth: &Auth,
    providers: &Providers,
) -> Result<(), BoxError> {
    if !assets::present() {
        tracing::warn!("{}", assets::MISSING);
    }
    if !providers.simulated.is_empty() {
        tracing::info!("simulated, because no key is set: {}", providers.simulated.join("; "));
    }
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "listening beyond loopback: browsers allow a microphone only over HTTPS, so put a TLS proxy in front");
    }
    let token = auth.issue_link(Instant::now())?;
    writeln!(std::io::stdout(), "LivOS is ready: {}/login?token={token}", base(config, address))?;
    Ok(std::io::stdout().flush()?)
}
