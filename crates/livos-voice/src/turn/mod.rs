//! Turn taking: the only place that decides who holds the floor.

pub mod endpointing;
pub mod event;
pub mod interruption;
mod machine;
mod said;

#[cfg(test)]
mod tests;

pub use event::{Commit, Mode, TurnConfig, TurnInput, TurnOutput, TurnState};
pub use machine::TurnTaking;
