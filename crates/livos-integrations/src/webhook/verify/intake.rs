//! All layers of an endpoint, in their order.

use std::sync::Arc;

use livos_core::{
    queue::{JobKind, Queue},
    time::Clock,
};
use tower_layer::Layer;

use super::{config::VerifyConfig, layer::VerifyLayer, service::Verify};
use crate::webhook::{
    enqueue::Enqueue,
    limit::{SourceLimit, SourceLimitLayer},
    verifier::Verifier,
};

/// The whole way from a request to a job: limited, verified, durable, answered.
pub type Intake<C> = SourceLimit<Verify<Enqueue<C>, C>>;

/// Takes the deliveries of one endpoint into a queue, as jobs of this kind, with the default
/// bounds. Mount it where `POST` comes in. Insert a [`Source`](crate::webhook::Source) into the
/// request's extensions first, so that sources are told apart.
pub fn intake<C: Clock + Clone>(
    verifier: Arc<dyn Verifier>,
    queue: Arc<dyn Queue>,
    kind: JobKind,
    clock: C,
) -> Intake<C> {
    let enqueue = Enqueue::new(queue, kind, clock.clone(), verifier.policy().retention);
    intake_by(verifier, clock, enqueue, VerifyConfig::default())
}

/// The same with other jobs ([`Enqueue::by`]) and other bounds.
pub fn intake_by<C: Clock + Clone>(
    verifier: Arc<dyn Verifier>,
    clock: C,
    enqueue: Enqueue<C>,
    config: VerifyConfig,
) -> Intake<C> {
    SourceLimitLayer::default().layer(VerifyLayer::new(verifier, clock, config).layer(enqueue))
}
