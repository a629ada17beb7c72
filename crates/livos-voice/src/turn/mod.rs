//! Turn taking: the only place that decides who holds the floor.

pub mod event;

pub use event::{Commit, Mode, TurnConfig, TurnInput, TurnOutput, TurnState};
