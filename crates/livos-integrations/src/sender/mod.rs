//! Answers on their way out to people: how a long text becomes messages that a provider takes.

mod split;

pub use self::split::{Limit, Unit, split};
