//! Makes the limited services.

use tower_layer::Layer;

use super::{LimitConfig, SourceLimit};

/// Limits the failures of each source. Each service that it makes is an endpoint with a limit of
/// its own; clones of one service share it.
#[derive(Debug, Clone, Default)]
pub struct SourceLimitLayer {
    config: LimitConfig,
}

impl SourceLimitLayer {
    /// With these limits.
    pub fn new(config: &LimitConfig) -> Self {
        Self { config: config.clone() }
    }
}

impl<S> Layer<S> for SourceLimitLayer {
    type Service = SourceLimit<S>;

    fn layer(&self, inner: S) -> SourceLimit<S> {
        SourceLimit::new(inner, &self.config)
    }
}
