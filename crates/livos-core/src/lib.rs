//! What every part of LivOS shares.

pub mod conversation;
pub mod machine;
