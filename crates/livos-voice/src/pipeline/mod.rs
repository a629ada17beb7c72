//! One voice session: from the listener's transport through recogniser, turn taking, responder and
//! synthesiser, back to the listener.
//!
//! [`VoiceSession::run`] is one future and spawns nothing: it polls the transport, both provider
//! drivers and the reply together, so dropping it ends everything it began. It decides nothing: the
//! ears, [`crate::turn::TurnTaking`] and the answers do.

mod answer;
pub mod config;
mod connection;
mod ears;
pub mod session;

#[cfg(test)]
mod tests;

pub use answer::{heard, latency, opener, playout};
pub use config::SessionConfig;
pub use session::VoiceSession;
