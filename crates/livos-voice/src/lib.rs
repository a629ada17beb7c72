#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audio;
#[cfg(feature = "connect")]
pub mod connect;
pub mod connection;
pub mod generation;
#[cfg(any(feature = "cartesia", feature = "deepgram"))]
pub mod line;
pub mod meter;
pub mod pipeline;
pub mod stt;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod transport;
pub mod tts;
pub mod turn;
pub mod vad;
