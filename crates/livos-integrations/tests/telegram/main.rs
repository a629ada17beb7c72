//! The Telegram client, poller, webhook and sender against a twin that speaks the provider's wire
//! and shares no type with them.

#![allow(clippy::unwrap_used)] // Helpers of tests fail as tests do.

mod calls;
mod poll;
mod rig;
mod send;
mod steady;
mod webhook;
