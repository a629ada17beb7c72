//! The limit on resident memory.

use livos_core::supervise::memory::{self, MemoryConfig};

use super::config::{MemorySection, SoftLimit};

/// The configuration of the watch. A share is one of what the control group or the machine allows.
pub fn watch_config(config: &MemorySection) -> MemoryConfig {
    let mut watch = MemoryConfig::default();
    watch.soft_limit = match config.soft_limit {
        SoftLimit::Off => None,
        SoftLimit::Bytes(bytes) => Some(bytes),
        SoftLimit::Share(percent) => match memory::limit() {
            Ok(limit) => {
                let soft_limit = limit.bytes / 100 * percent;
                tracing::info!(soft_limit, of = limit.bytes, by = %limit.source, "memory is limited");
                Some(soft_limit)
            }
            Err(error) => {
                tracing::warn!(%error, "the memory of this machine is unknown, so it is not limited");
                None
            }
        },
    };
    watch.sample_every = config.sample_every.unwrap_or(watch.sample_every);
    watch.over_for = config.over_for.unwrap_or(watch.over_for);
    watch.line_every = config.line_every.unwrap_or(watch.line_every);
    watch
}
