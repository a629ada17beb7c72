#![doc = include_str!("../README.md")]

pub mod backoff;
pub mod bell;
pub mod breaker;
pub mod budget;
pub mod bus;
pub mod conversation;
pub mod drain;
pub mod drive;
pub mod embedded;
mod families;
#[cfg(feature = "http")]
pub mod http;
pub mod keep_alive;
pub mod machine;
pub mod manual;
pub mod queue;
pub mod reconnect;
#[cfg(feature = "redis")]
pub mod redis;
pub mod seal;
pub mod secret;
pub mod store;
pub mod supervise;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod time;
pub mod usage;
pub mod user;

pub use families::families;
