//! Gmail against its twin, which shares no type with the client, in memory and in virtual time.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail as tests do.

mod client;
mod disk;
mod kill;
mod month;
mod support;
mod watch;
