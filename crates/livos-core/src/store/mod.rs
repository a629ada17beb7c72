//! Values by key, each with a lifetime, in a file or in a server that several processes share.
//!
//! The trait is what every backend can do in one atomic step. A decision that needs several steps
//! is kept in one value and written with [`Store::put_if`].

mod api;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
#[cfg(feature = "embedded")]
mod embedded;
mod error;
mod guard;
#[cfg(feature = "redis")]
mod guarded;
mod janitor;
mod key;
#[cfg(feature = "redis")]
mod redis;
#[cfg(test)]
mod tests;

#[cfg(feature = "embedded")]
pub use self::embedded::EmbeddedStore;
pub(crate) use self::error::{check_field, check_value};
pub(crate) use self::guard::GUARDS;
pub use self::{
    api::{Entry, Found, Put, Store},
    error::{MAX_VALUE, StoreError},
    guard::{Claim, Guard, Tenure, Waiting},
    janitor::{SweepReport, sweep},
    key::{Away, AwayReads, AwayWrites, Family, InvalidKey, Key, Lifetime},
};
#[cfg(feature = "redis")]
pub use self::{guarded::GuardedStore, redis::RedisStore};
