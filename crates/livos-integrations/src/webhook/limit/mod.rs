//! Bounds what one source may send that proves nothing, in a table of bounded size.

mod config;
mod layer;
mod service;
mod table;

pub(super) use self::service::Token;
pub use self::{
    config::{LimitConfig, Source},
    layer::SourceLimitLayer,
    service::{Limited, SourceLimit},
};
