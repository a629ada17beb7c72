//! What every part of LivOS shares.

pub mod backoff;
pub mod budget;
pub mod conversation;
pub mod drain;
pub mod drive;
pub mod keep_alive;
pub mod machine;
pub mod reconnect;
pub mod secret;
pub mod supervise;
pub mod time;
