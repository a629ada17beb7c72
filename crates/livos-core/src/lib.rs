#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What backends share (bounds, rates, keys with another lifetime) has no user in a build without
// them.
#![cfg_attr(not(all(feature = "embedded", feature = "usage")), allow(dead_code, unused_imports))]

pub mod backoff;
pub mod bell;
pub mod breaker;
pub mod budget;
pub mod bus;
pub mod conversation;
pub mod drain;
pub mod drive;
#[cfg(feature = "embedded")]
pub mod embedded;
mod families;
#[cfg(feature = "http")]
pub mod http;
pub mod keep_alive;
pub mod load;
pub mod machine;
mod macros;
pub mod manual;
pub mod queue;
pub mod reconnect;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(feature = "seal")]
pub mod seal;
pub mod secret;
pub mod store;
#[cfg(feature = "supervise")]
pub mod supervise;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
pub mod time;
#[cfg(feature = "usage")]
pub mod usage;
pub mod user;

pub use families::families;
