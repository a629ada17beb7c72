//! Makes the limited services.

use std::sync::{Arc, Mutex};

use tower_layer::Layer;

use super::{LimitConfig, SourceLimit, table::Table};

/// Limits each source. All services that it makes share one table.
#[derive(Debug, Clone)]
pub struct SourceLimitLayer {
    table: Arc<Mutex<Table>>,
    count_verified: bool,
}

impl SourceLimitLayer {
    /// With these limits.
    pub fn new(config: &LimitConfig) -> Self {
        Self { table: Arc::new(Mutex::new(Table::new(config))), count_verified: config.count_verified }
    }
}

impl Default for SourceLimitLayer {
    fn default() -> Self {
        Self::new(&LimitConfig::default())
    }
}

impl<S> Layer<S> for SourceLimitLayer {
    type Service = SourceLimit<S>;

    fn layer(&self, inner: S) -> SourceLimit<S> {
        SourceLimit::new(inner, Arc::clone(&self.table), self.count_verified)
    }
}
