//! The answers of a session: what is asked of the responder, spoken by the synthesiser, and heard
//! by the listener.
//!
//! [`machine::Answers`] decides all of it. An answer holds one enum for each question about it: is
//! its turn sure, does the responder write on, does the synthesiser speak on, and what does the
//! listener's player do.

pub(super) mod event;
mod flow;
pub mod heard;
pub mod latency;
pub(super) mod machine;
pub mod opener;
pub mod playout;
mod script;
mod speech;
mod state;
pub(super) mod voice;

#[cfg(test)]
mod tests;
