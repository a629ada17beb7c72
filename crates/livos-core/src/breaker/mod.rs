//! Leaves a dependency alone while it fails, so that its failure costs a caller nothing and its
//! return is not met by a herd (P-20).
//!
//! [`Breaker`] decides and is a plain value; [`BreakerLayer`] puts it round any service.

mod layer;
mod value;

pub use layer::{BreakerLayer, BreakerService, Broken};
pub use value::{Admission, Breaker, BreakerConfig, BreakerState};
