//! The analysis behind `cargo xtask house`, which the tidy test shares.

pub mod house;
