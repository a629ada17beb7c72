//! Makes the verifying services.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::{config::VerifyConfig, service::Verify};
use crate::webhook::verifier::Verifier;

/// Puts a verifier before a service that takes verified deliveries.
#[derive(Clone)]
pub struct VerifyLayer<C> {
    verifier: Arc<dyn Verifier>,
    clock: C,
    config: Arc<VerifyConfig>,
}

impl<C> VerifyLayer<C> {
    /// This verifier, within these bounds.
    pub fn new(verifier: Arc<dyn Verifier>, clock: C, config: VerifyConfig) -> Self {
        Self { verifier, clock, config: Arc::new(config) }
    }
}

impl<C> fmt::Debug for VerifyLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyLayer")
            .field("provider", &self.verifier.policy().provider)
            .finish_non_exhaustive()
    }
}

impl<S, C: Clone> Layer<S> for VerifyLayer<C> {
    type Service = Verify<S, C>;

    fn layer(&self, inner: S) -> Verify<S, C> {
        Verify::new(inner, Arc::clone(&self.verifier), self.clock.clone(), Arc::clone(&self.config))
    }
}
