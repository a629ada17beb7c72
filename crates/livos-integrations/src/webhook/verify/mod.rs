//! A verifier over HTTP: reads the body under its bounds, verifies it, hands it on, and answers in
//! the provider's own words.

mod body;
mod layer;
mod service;

use std::{sync::Arc, time::Duration};

use livos_core::{
    queue::{JobKind, Queue},
    time::Clock,
};
use tower_layer::Layer;

pub use self::{body::Body, layer::VerifyLayer, service::Verify};
use super::{Enqueue, SourceLimit, SourceLimitLayer, Verifier};

/// The bounds of what is read, and when to come again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyConfig {
    /// The longest body, in bytes. 1 MiB less 16 KiB: with what is kept beside it, that fits into a
    /// job.
    pub max_body: usize,
    /// How long a whole body may take to come in. 10 s: providers give up at about that time.
    pub body_timeout: Duration,
    /// When to come again after the queue was full, or failed. 30 s: a full queue drains in
    /// minutes, and providers make it longer by themselves.
    pub retry_after: Duration,
}

impl Default for VerifyConfig {
    fn default() -> Self {
        Self {
            max_body: livos_core::queue::NewJob::MAX_PAYLOAD - 16 * 1024,
            body_timeout: Duration::from_secs(10),
            retry_after: Duration::from_secs(30),
        }
    }
}

/// The whole way from a request to a job: limited, verified, durable, answered.
pub type Intake<C> = SourceLimit<Verify<Enqueue<C>, C>>;

/// Takes the deliveries of one endpoint into a queue, as jobs of this kind, with the usual bounds.
/// Mount it where `POST` comes in; insert a [`super::Source`] before it, so that sources are told
/// apart.
pub fn intake<C: Clock + Clone>(
    verifier: Arc<dyn Verifier>,
    queue: Arc<dyn Queue>,
    kind: JobKind,
    clock: C,
) -> Intake<C> {
    let enqueue = Enqueue::new(queue, kind, clock.clone(), verifier.retention());
    let verify = VerifyLayer::new(verifier, clock, VerifyConfig::default());
    SourceLimitLayer::default().layer(verify.layer(enqueue))
}
