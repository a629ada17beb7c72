#![doc = include_str!("../README.md")]

pub mod history;
pub mod message;
pub mod model;
pub mod service;
pub mod tokens;

pub use history::History;
pub use model::{Model, ModelEvent, ModelRequest, anthropic::Anthropic};
pub use service::{Agent, AgentConfig};
