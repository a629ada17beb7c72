#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod history;
pub mod message;
pub mod model;
pub mod service;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod tokens;

pub use history::History;
#[cfg(feature = "anthropic")]
pub use model::anthropic::Anthropic;
pub use model::{Model, ModelEvent, ModelRequest};
pub use service::{Agent, AgentConfig};
