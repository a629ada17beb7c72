#![cfg_attr(docsrs, feature(doc_cfg))]
//! A streaming voice pipeline: microphone, voice activity detection, speech to text, responder,
//! text to speech, speaker.
//!
//! ```text
//! transport ──▶ vad::Gate ──▶ stt ──Transcript──▶ turn::TurnTaking ──Commit──▶ responder ──▶ tts::chunk ──▶ tts ──▶ transport
//!                  └──────────VadState───────────────▲   ▲────────────────────────playout──────────────────────────────┘
//! ```
//!
//! [`pipeline::VoiceSession`] joins the parts; each of them also works alone. Providers are
//! [`stt::SpeechToText`] and [`tts::TextToSpeech`]; what a client sends and receives is in
//! [`transport::protocol`].

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

/// Compiles the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
