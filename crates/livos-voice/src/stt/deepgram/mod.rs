//! Deepgram. Streaming: [`Listen`] is `/v1/listen` (Nova), [`Flux`] is `/v2/listen` (the provider
//! judges turns). [`Recorded`] is for what was recorded before, such as voice notes.
//!
//! Both streams speak through one session driver, which keeps the connection, retains the audio
//! that no final transcript covers yet, and sends it again when the connection was lost. Each
//! dialect only says what its messages mean.

mod config;
mod dialect;
mod feed;
mod flux;
mod listen;
mod recorded;
mod replay;
mod session;
mod wire;

pub use config::{Config, ConfigError, FluxConfig, ListenConfig, RecordedConfig, Timing, Turns};
pub use flux::Flux;
pub use listen::Listen;
pub use recorded::Recorded;

#[cfg(test)]
mod tests;
