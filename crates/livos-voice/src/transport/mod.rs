//! How audio and events reach the listener.

pub mod protocol;
