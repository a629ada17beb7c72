//! Turn taking: the only place that decides who holds the floor.

pub mod endpointing;
pub mod event;
pub mod interruption;
mod machine;
mod said;
mod user;

#[cfg(test)]
mod tests;

pub use event::{Commit, Mode, Origin, TurnConfig, TurnInput, TurnOutput, TurnState};
pub use machine::TurnTaking;
