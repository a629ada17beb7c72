//! What the targets share: hostile peers, and random dialogues with machines.

pub mod law;
pub mod peer;
