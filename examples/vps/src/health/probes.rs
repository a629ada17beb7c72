//! Probes of the providers.
//!
//! A probe opens a connection to a provider, with TLS if the provider has it, and closes it again.
//! It costs no credit and needs no key. It tells a wrong address or a dead network from a provider
//! that answers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Uri;
use livos_core::drain::DrainSignal;
use livos_voice::connect::Connector;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::providers::Dependency;

/// How long a probe may take. 5 s: a provider that takes longer to accept a connection is of no use
/// to a conversation.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// One provider, and what the last probe found.
struct Probed {
    name: &'static str,
    address: Uri,
    simulated: bool,
    state: Mutex<State>,
}

#[derive(Clone)]
enum State {
    Unknown,
    Ready { since: Instant },
    Down { since: Instant, reason: String },
}

/// The providers that the server depends on. Cloning shares what the probes found.
#[derive(Clone)]
pub struct Dependencies {
    all: Arc<Vec<Probed>>,
    connector: Connector,
}

impl Dependencies {
    /// These providers, none of which was probed yet.
    pub fn new(connector: Connector, providers: &[Dependency]) -> Self {
        let all = providers.iter().map(|provider| Probed {
            name: provider.name,
            address: provider.address.clone(),
            simulated: provider.simulated,
            state: Mutex::new(State::Unknown),
        });
        Self { all: Arc::new(all.collect()), connector }
    }

    /// Probes all of them now and then at every interval, until the drain.
    pub async fn watch(self, interval: Duration, drain: DrainSignal) {
        loop {
            futures_util::future::join_all(self.all.iter().map(|one| self.probe(one))).await;
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = drain.draining() => return,
            }
        }
    }

    async fn probe(&self, dependency: &Probed) {
        let connecting = self.connector.clone().oneshot(dependency.address.clone());
        let found = match tokio::time::timeout(PROBE_TIMEOUT, connecting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {} s", PROBE_TIMEOUT.as_secs())),
        };
        dependency.found(found, Instant::now());
    }

    /// Whether all are ready, and the state of each by its name.
    pub fn report(&self, now: Instant) -> (bool, Value) {
        let states: Vec<_> = self.all.iter().map(|one| (one, one.state().clone())).collect();
        let ready = states.iter().all(|(_, state)| matches!(state, State::Ready { .. }));
        let each: serde_json::Map<_, _> =
            states.iter().map(|(one, state)| (one.name.to_owned(), describe(one, state, now))).collect();
        (ready, Value::Object(each))
    }
}

impl Probed {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn found(&self, found: Result<(), String>, now: Instant) {
        let mut state = self.state();
        *state = match (found, &*state) {
            (Ok(()), State::Ready { since }) => State::Ready { since: *since },
            (Ok(()), _) => State::Ready { since: now },
            (Err(reason), State::Down { since, .. }) => State::Down { since: *since, reason },
            (Err(reason), _) => {
                tracing::warn!(dependency = self.name, reason, "a provider cannot be reached");
                State::Down { since: now, reason }
            }
        };
        metrics::gauge!("livos_dependency_ready", "dependency" => self.name)
            .set(f64::from(u8::from(matches!(*state, State::Ready { .. }))));
    }
}

fn describe(dependency: &Probed, state: &State, now: Instant) -> Value {
    let seconds = |since: &Instant| now.saturating_duration_since(*since).as_secs();
    let simulated = dependency.simulated;
    match state {
        State::Unknown => json!({ "state": "unknown", "simulated": simulated }),
        State::Ready { since } => {
            json!({ "state": "ready", "for_seconds": seconds(since), "simulated": simulated })
        }
        State::Down { since, reason } => {
            json!({ "state": "down", "for_seconds": seconds(since), "reason": reason, "simulated": simulated })
        }
    }
}
