//! What the targets share: hostile peers, messages and webhooks as text, values in memory, and
//! random dialogues with machines.

pub mod law;
pub mod memory;
pub mod message;
pub mod oauth;
pub mod peer;
pub mod webhooks;
