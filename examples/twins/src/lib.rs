//! Twins of the providers that LivOS talks to: the other side of the wire, for tests, demos and
//! benches.
//!
//! A twin is written from the provider's published specification and depends on no LivOS crate, so
//! that a client and its twin cannot share a mistake. It serves any byte stream, in memory or TCP,
//! and everything random in it comes from one seed.

pub mod admin;
pub mod all;
pub mod anthropic;
pub mod cartesia;
pub mod connection;
pub mod deepgram;
pub mod discord;
pub mod fault;
pub mod gmail;
pub mod google;
pub mod latency;
pub mod random;
pub mod serve;
mod stream;
pub mod telegram;
pub mod tones;
pub mod webhooks;

pub use all::{Twins, TwinsConfig};
pub use fault::{Fault, Refusal, Target, When};
pub use latency::Profile;
pub use serve::Twin;
