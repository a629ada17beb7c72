//! The feature: an endpoint for each webhook of the configuration.

use std::sync::Arc;

use axum::{Router, extract::Request, middleware};
use futures_util::{FutureExt, future::BoxFuture};
use livos_core::{
    queue::{Job, JobKind, KindPolicy},
    time::SystemClock,
};
use livos_integrations::webhook::{self, Verifier};
use tower::{BoxError, service_fn};

use super::{
    config::{WebhookProvider, WebhooksSection},
    verifier::verifier,
    work::work,
};
use crate::{
    config::{ConfigError, Document},
    durable::{Jobs, Kinds},
    feature::{Feature, Parts, Services},
    http::{Routes, Source},
};

/// Deliveries of one endpoint that are worked on at one time. 1: a burst of one provider leaves
/// room for the others.
const POLICY: KindPolicy = KindPolicy::DEFAULT.with_concurrency(1);

pub struct Hooks(Vec<Endpoint>);

struct Endpoint {
    path: String,
    kind: JobKind,
    verifier: Arc<dyn Verifier>,
    /// What the agent does with a delivery; `None` if another feature works on it.
    task: Option<Arc<str>>,
}

impl Hooks {
    /// Reads its sections. `google` is the address of a stand-in for Google.
    pub fn read(document: &mut Document<'_>, google: Option<&str>) -> Result<Self, ConfigError> {
        let WebhooksSection(webhooks) = document.section()?;
        let mut keys = None;
        let endpoints = webhooks.iter().map(|webhook| {
            let verifier = verifier(webhook, &mut keys, google)
                .map_err(|why| ConfigError::of(&format!("webhooks, {}", webhook.name), why))?;
            let is_ours = webhook.provider != WebhookProvider::Gmail;
            Ok(Endpoint {
                path: format!("/hooks/{}", webhook.name),
                kind: webhook.kind()?,
                verifier,
                task: is_ours.then(|| Arc::from(webhook.task.as_str())),
            })
        });
        endpoints.collect::<Result<_, _>>().map(Self)
    }
}

impl Feature for Hooks {
    fn kinds(&self) -> Kinds {
        self.0.iter().map(|endpoint| (endpoint.kind.clone(), POLICY)).collect()
    }

    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        let (mut router, mut jobs) = (Router::new(), Jobs::default());
        for Endpoint { path, kind, verifier, task } in self.0 {
            let queue = Arc::clone(&services.durable.queue);
            router = router.route_service(&path, webhook::intake(verifier, queue, kind.clone(), SystemClock));
            if let Some(task) = task {
                let responder = services.providers.responder.clone();
                let handler = service_fn(move |lease: Job| work(lease, responder.clone(), Arc::clone(&task)));
                jobs = jobs.on(kind, handler);
            }
        }
        let router = router.layer(middleware::map_request(with_source));
        std::future::ready(Ok(Parts { routes: Routes::open(router), jobs, ..Parts::default() })).boxed()
    }
}

/// Tells the limit on failed verifications who the client is.
async fn with_source(mut request: Request) -> Request {
    if let Some(Source(client)) = request.extensions().get().copied() {
        request.extensions_mut().insert(webhook::Source(client));
    }
    request
}
