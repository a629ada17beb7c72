//! A streaming voice pipeline: microphone, voice activity detection, speech to text, responder, text to speech, speaker.

pub mod audio;
pub mod connect;
pub mod connection;
pub mod generation;
pub mod meter;
pub mod pipeline;
pub mod stt;
pub mod transport;
pub mod tts;
pub mod turn;
pub mod vad;
pub mod ws;
