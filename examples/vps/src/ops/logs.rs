//! The log: text for people or JSON for programs, and traces for a collector where the build and
//! the configuration have one.

use std::io::IsTerminal;

use tower::BoxError;
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use super::config::{LogFormat, OpsConfig};
#[cfg(feature = "otel")]
use super::telemetry::Telemetry;

type BoxedLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Writes the log, and sends what is left when the program ends.
pub struct Logs {
    #[cfg(feature = "otel")]
    telemetry: Option<Telemetry>,
}

impl Logs {
    /// Logs from now on. Must be called inside the runtime, and once.
    pub fn start(config: &OpsConfig) -> Result<Self, BoxError> {
        let format = tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            // Colours are for people; a journal would keep them as rubbish.
            .with_ansi(std::io::stderr().is_terminal());
        let lines: BoxedLayer = match config.log.format {
            LogFormat::Text => format.with_filter(filter()).boxed(),
            LogFormat::Json => format.json().flatten_event(true).with_filter(filter()).boxed(),
        };
        #[cfg(feature = "otel")]
        let (telemetry, traces) = Telemetry::start(&config.telemetry)?.unzip();
        #[cfg(not(feature = "otel"))]
        let traces: Option<BoxedLayer> = None;
        tracing_subscriber::registry()
            .with([Some(lines), traces].into_iter().flatten().collect::<Vec<_>>())
            .try_init()?;
        Ok(Self {
            #[cfg(feature = "otel")]
            telemetry,
        })
    }

    /// Sends what is left.
    pub async fn end(self) {
        #[cfg(feature = "otel")]
        if let Some(telemetry) = self.telemetry {
            telemetry.end().await;
        }
    }
}

fn filter() -> EnvFilter {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // At TRACE this target logs whole handshakes, and with them the providers' keys.
    match "tungstenite=debug".parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    }
}
