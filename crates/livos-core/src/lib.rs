//! What every part of LivOS shares.

pub mod backoff;
pub mod conversation;
pub mod drive;
pub mod keep_alive;
pub mod machine;
pub mod reconnect;
