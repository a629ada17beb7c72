//! When to connect, when to wait, and when to stop: never two live connections, never a storm of
//! attempts (P-04).

mod machine;
#[cfg(test)]
mod tests;

pub use machine::{Reconnect, ReconnectConfig, ReconnectInput, ReconnectOutput, ReconnectState};
