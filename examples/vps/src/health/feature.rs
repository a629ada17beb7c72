//! The feature: routes, and the task that probes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::{FutureExt, future::BoxFuture};
use http::{StatusCode, header};
use livos_core::drain::DrainSignal;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tower::BoxError;

use super::probes::Dependencies;
use crate::{
    config::{ConfigError, Document},
    durable::Durable,
    feature::{Feature, Parts, Services, Task},
    http::{Routes, ServerSection},
};

/// Health, readiness and metrics.
pub struct Health {
    probe_interval: Duration,
}

impl Health {
    /// Reads how often providers are probed.
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        Ok(Self { probe_interval: document.section::<ServerSection>()?.probe_interval })
    }
}

impl Feature for Health {
    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        let providers = &services.providers;
        let dependencies = Dependencies::new(providers.connector.clone(), &providers.dependencies);
        let readiness = Readiness {
            dependencies: dependencies.clone(),
            durable: services.durable.clone(),
            drain: services.drain.clone(),
        };
        let open = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready).with_state(Arc::new(readiness)));
        let protected = Router::new().route("/metrics", get(metrics).with_state(services.metrics.clone()));
        let (interval, drain) = (self.probe_interval, services.drain.clone());
        let probes =
            Task::until_drain("provider probes", move || dependencies.clone().watch(interval, drain.clone()));
        let parts = Parts { routes: Routes { open, protected }, tasks: vec![probes], ..Parts::default() };
        std::future::ready(Ok(parts)).boxed()
    }
}

struct Readiness {
    dependencies: Dependencies,
    durable: Durable,
    drain: DrainSignal,
}

/// 200 if every dependency and the store are ready and no drain has begun, else 503, and the state
/// of each.
async fn ready(State(readiness): State<Arc<Readiness>>) -> Response {
    let draining = readiness.drain.is_draining();
    let (durable_ready, durable) = readiness.durable.report();
    let (providers_ready, dependencies) = readiness.dependencies.report(Instant::now());
    let ready = !draining && durable_ready && providers_ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let report =
        json!({ "ready": ready, "draining": draining, "durable": durable, "dependencies": dependencies });
    (status, Json(report)).into_response()
}

async fn metrics(State(metrics): State<PrometheusHandle>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()).into_response()
}
