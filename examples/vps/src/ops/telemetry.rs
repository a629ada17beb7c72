//! Traces to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! Spans are handed to a thread of the library in batches; a collector that is away costs the
//! server nothing but those that do not fit (2048 wait at most).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use livos_voice::connect::{self, Connector};
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tower::{BoxError, ServiceExt};
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
};

use super::config::TelemetrySection;

/// How long one export may take, and how long the last one may hold up the end of the program. 3 s:
/// a collector is near, and a restart waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer of a collector that is read. 64 KiB: an answer is a few bytes.
const MAX_ANSWER: usize = 64 * 1024;
/// The name of this service, unless `OTEL_SERVICE_NAME` says another.
const SERVICE: &str = env!("CARGO_PKG_NAME");

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

pub struct Telemetry(SdkTracerProvider);

impl Telemetry {
    /// Sends spans from now on, where there is a collector. Must be called inside the runtime.
    pub fn start(config: &TelemetrySection) -> Result<Option<(Self, BoxedLayer)>, BoxError> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let connector = connect::tcp(connect::TcpConfig::default())?;
        let client = Client { connector, runtime: Handle::current(), failing: Arc::default() };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()?;
        let name = std::env::var("OTEL_SERVICE_NAME").unwrap_or_else(|_| SERVICE.into());
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(Resource::builder().with_service_name(name).build())
            .build();
        let tracer = provider.tracer(SERVICE);
        // Spans of the exporter's own connection would cause more spans without end.
        let ours = Targets::new().with_default(LevelFilter::INFO).with_targets(
            ["hyper", "h2", "opentelemetry", "rustls"].map(|target| (target, LevelFilter::OFF)),
        );
        let traces = tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours).boxed();
        Ok(Some((Self(provider), traces)))
    }

    /// Sends what is left, for as long as that may take.
    pub async fn end(self) {
        let ended = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(PATIENCE)).await;
        if let Ok(Err(error)) = ended {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// Sends one request over a connection of its own, which is enough for one every few seconds.
#[derive(Clone)]
struct Client {
    connector: Connector,
    /// The exporter's thread is not of the runtime.
    runtime: Handle,
    /// Whether the last request failed, so that it is said once.
    failing: Arc<AtomicBool>,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let connector = self.connector.clone();
        // The timer is made over there too: this thread has none.
        let sent = self.runtime.spawn(async move {
            let sending = tokio::time::timeout(PATIENCE, exchange(connector, request));
            sending.await.map_err(|_| "the collector did not answer in time")?
        });
        let sent = sent.await?;
        let problem = match &sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let outcome = if problem.is_none() { "sent" } else { "failed" };
        metrics::counter!("livos_traces_exports_total", "outcome" => outcome).increment(1);
        let failed = self.failing.swap(problem.is_some(), Ordering::Relaxed);
        if let Some(problem) = problem.filter(|_| !failed) {
            tracing::warn!(problem, "the collector takes no traces");
        }
        sent
    }
}

async fn exchange(connector: Connector, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let address = request.uri().clone();
    let stream = connector.oneshot(address.clone()).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut head, body) = request.into_parts();
    // On a connection of its own the host goes into a header, and the path alone into the request
    // line.
    let host = address.authority().ok_or("the collector's address names no host")?.as_str().parse()?;
    head.headers.insert(http::header::HOST, host);
    head.uri = address.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let answering = async move {
        let answer = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?.to_bytes();
        Ok::<_, HttpError>(Response::from_parts(head, body))
    };
    tokio::select! {
        answer = answering => answer,
        // It ends by itself only where it fails.
        ended = connection => Err(ended.map_or_else(Into::into, |()| "the collector closed the connection".into())),
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}
