//! Bounds the failures of one source, in a table of bounded size. A correct signature passes over
//! the limit too.

mod config;
mod layer;
mod reserve;
mod service;
mod table;

pub(super) use self::service::Token;
pub use self::{
    config::{LimitConfig, Source},
    layer::SourceLimitLayer,
    service::{Limited, SourceLimit},
};
