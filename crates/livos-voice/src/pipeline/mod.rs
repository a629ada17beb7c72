//! One voice session: from the listener's transport through recogniser, turn taking, responder and
//! synthesiser, back to the listener.
//!
//! [`VoiceSession::run`] is one future and spawns nothing: it polls the transport, both provider
//! drivers and the reply side by side, so dropping it ends everything it began. It decides nothing
//! about the conversation; [`crate::turn::TurnTaking`] does.

mod answer;
pub mod config;
mod ears;
pub mod heard;
pub mod latency;
pub mod opener;
pub mod playout;
pub mod session;
mod voice;

#[cfg(test)]
mod tests;

pub use config::SessionConfig;
pub use session::VoiceSession;
