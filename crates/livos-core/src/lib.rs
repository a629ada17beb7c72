#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod budget;
pub mod conversation;
pub mod drain;
pub mod drive;
pub mod keep_alive;
pub mod machine;
pub mod manual;
pub mod reconnect;
pub mod secret;
pub mod supervise;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod time;
