//! Grants against the Google twin, in virtual time: consents, refreshes by many at once, every way
//! in which a grant dies, and thirty days of bad luck.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail as tests do.

mod consents;
mod days;
mod deaths;
mod many;
mod world;
