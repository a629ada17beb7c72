//! Anthropic's Messages API, streamed: <https://docs.anthropic.com/en/api/messages-streaming>.

mod client;
mod config;
pub mod sse;
#[cfg(test)]
mod tests;
mod wire;

pub use client::Anthropic;
pub use config::{AnthropicConfig, InvalidConfig};
