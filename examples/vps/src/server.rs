//! The server: its configuration, the list of its features, and its life from opening to drain.

use std::{io::Write, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use livos_core::{
    drain::{Drain, DrainSignal, Termination},
    supervise::{Load, Supervisor},
};
use livos_twins::Twins;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tower::BoxError;

use crate::{
    accounts::{self, AccountsConfig},
    channels::Channels,
    chat::Chat,
    config::{ConfigError, Document},
    durable::{self, Durable, DurableConfig, Families, Janitor, WorkConfig},
    feature::{Feature, Parts, Services},
    google::Google,
    health::Health,
    hooks::Hooks,
    http::{self, Access, ServerSection},
    ops::{self, OpsConfig},
    providers::{self, ProvidersConfig},
    usage::UsagePages,
    voice::Voice,
};

/// Everything that the configuration says, validated.
pub struct Config {
    pub server: ServerSection,
    /// The log, traces and the watch over memory.
    pub ops: OpsConfig,
    durable: DurableConfig,
    accounts: AccountsConfig,
    providers: ProvidersConfig,
    features: Vec<Box<dyn Feature>>,
}

impl Config {
    /// Reads every section. Nothing is opened yet.
    pub fn read(mut document: Document<'_>) -> Result<Self, ConfigError> {
        let config = Self {
            server: document.section()?,
            ops: OpsConfig::read(&mut document)?,
            durable: DurableConfig::read(&mut document)?,
            accounts: AccountsConfig::read(&mut document)?,
            providers: ProvidersConfig::read(&mut document)?,
            features: features(&mut document)?,
        };
        document.finish()?;
        Ok(config)
    }
}

impl Config {
    /// The socket at which a running server hands out login links.
    pub fn control_socket(&self) -> Result<PathBuf, ConfigError> {
        let nowhere = || ConfigError::of("store.path", "a store in memory has no socket for login links");
        self.durable.control_socket().ok_or_else(nowhere)
    }
}

/// The features of this deployment. Their order means nothing.
fn features(document: &mut Document<'_>) -> Result<Vec<Box<dyn Feature>>, ConfigError> {
    let google = Google::read(document)?;
    Ok(vec![
        Box::new(Health::read(document)?),
        Box::new(Voice::read(document)?),
        Box::new(Chat),
        Box::new(UsagePages),
        Box::new(Hooks::read(document, google.stand_in())?),
        Box::new(Channels::read(document)?),
        Box::new(google),
    ])
}

/// Runs the server until a signal or too much memory ends it.
pub async fn run(config: Config) -> Result<ExitCode, BoxError> {
    let (manager, mut signals) = (ops::manager()?, Termination::listen()?);
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let (supervisor, load, drain) = (Supervisor::new(), Load::new(), Drain::new());
    let signal = drain.signal();
    let memory = ops::watch_config(&config.ops.memory);
    let drain_timeout = config.server.drain_timeout;
    let listener = listen(config.server.listen).await?;
    let address = listener.local_addr()?;

    let process =
        Process { supervisor: supervisor.clone(), load: load.clone(), drain: signal.clone(), metrics };
    let (durable, twins) = serve(config, listener, process).await?;
    manager.ready(&format!("listening on {address}"));
    ops::report(&manager, &supervisor, &load, &signal);

    let ops::Ending { reason, code } = ops::ending(memory, load, signal, &mut signals).await?;
    tracing::info!(reason, "draining: no new work; what runs may finish");
    manager.stopping("draining");
    drain.begin();
    tokio::select! {
        left = supervisor.shut_down(drain_timeout) => {
            if !left.is_empty() {
                tracing::warn!(?left, "these tasks did not end in time and were cut");
            }
        }
        // The operator does not want to wait.
        again = signals.next() => tracing::warn!(reason = again?, "a second signal: leaving at once"),
    }
    // Last, because everything that ran until now may have had something to write.
    durable.close().await;
    drop(twins);
    tracing::info!("stopped");
    Ok(code)
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BoxError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| format!("can't listen on {address}: {error}").into())
}

/// What the process has from its beginning to its end.
struct Process {
    supervisor: Supervisor,
    load: Load,
    drain: DrainSignal,
    metrics: PrometheusHandle,
}

/// Opens everything and begins to serve. Answers what must be kept until the end.
async fn serve(
    config: Config,
    listener: TcpListener,
    process: Process,
) -> Result<(Durable, Option<Twins>), BoxError> {
    let Config { server, durable: durable_config, features, .. } = config;
    let Process { supervisor, load, drain, metrics } = process;
    let kinds = features.iter().flat_map(|feature| feature.kinds()).chain(Janitor::kinds()).collect();
    let families =
        features.iter().fold(Families::of_the_core(), |all, feature| all.merge(feature.families()));
    let families = families.merge(Families::plain([http::SESSIONS]));

    let durable = Durable::open(&durable_config, kinds).await?;
    let models = config.providers.models();
    let store = Arc::clone(&durable.store);
    let accounts = accounts::open(&config.accounts, models, store, &supervisor, &drain).await?;
    let mut providers = providers::open(&config.providers, &accounts).await?;
    let twins = providers.twins.take();
    let services = Services {
        base: server.base(listener.local_addr()?),
        drain_timeout: server.drain_timeout,
        durable: durable.clone(),
        accounts,
        providers,
        supervisor: supervisor.clone(),
        load: load.clone(),
        drain: drain.clone(),
        metrics,
    };
    let jobs = Janitor::jobs(&durable, families);
    let mut parts = Parts { jobs, ..Parts::default() };
    for feature in features {
        parts = parts.merge(feature.open(&services).await?);
    }

    let work = WorkConfig {
        concurrency: durable_config.queue.concurrency,
        outage: durable_config.queue.outage(),
        drain_patience: server.drain_timeout / 2,
        pulse_patience: ops::PATIENCE,
    };
    durable::start(&durable, parts.jobs, &work, &supervisor, &load, &drain);
    for task in parts.tasks {
        task.spawn(&supervisor, &drain);
    }
    let access = Access::new(&server, Arc::clone(&durable.store));
    offer_links(&durable_config, &access, &services);
    announce(&services, listener.local_addr()?, &access)?;
    let router = http::router(parts.routes, access, server.forwarded_header.clone());
    let serving = http::serve(listener, router, server.max_connections, drain, server.drain_timeout);
    supervisor.spawn("http server", supervisor.pulse("http server", ops::PATIENCE).beating(serving));
    Ok((durable, twins))
}

/// Lets `livos-vps token` ask for links. The server works without that.
fn offer_links(config: &DurableConfig, access: &Access, services: &Services) {
    let Some(path) = config.control_socket() else { return };
    match http::offer_links(&path, Arc::clone(&access.auth), services.base.clone()) {
        Ok(offering) => {
            let drain = services.drain.clone();
            services.supervisor.spawn("login links", async move {
                tokio::select! {
                    () = offering => {}
                    () = drain.draining() => {}
                }
                let _ = std::fs::remove_file(path);
            });
        }
        Err(error) => tracing::warn!(%error, path = %path.display(), "no socket for new login links"),
    }
}

/// Prints the one line that a person needs on standard output; everything else is log.
fn announce(services: &Services, address: SocketAddr, access: &Access) -> Result<(), BoxError> {
    if !http::present() {
        tracing::warn!("{}", http::MISSING);
    }
    let simulated = &services.providers.simulated;
    if !simulated.is_empty() {
        tracing::info!("simulated, because no key is set: {}", simulated.join("; "));
    }
    if !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "listening beyond loopback: browsers allow a microphone only over HTTPS, so put a TLS proxy in front"
        );
    }
    let token = access.auth.issue_link(Instant::now())?;
    writeln!(std::io::stdout(), "LivOS is ready: {}/login?token={token}", services.base)?;
    Ok(std::io::stdout().flush()?)
}
