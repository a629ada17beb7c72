//! A Redis server, as the store, the queue and the bus use it.
//!
//! # Connections
//!
//! | for | connection |
//! | --- | --- |
//! | commands and scripts | a few, from a pool; callers share them, so that what many send at one time travels, and is written to the disk, together |
//! | pub/sub: the queue's bell, the bus | one of its own for each listener |
//! | blocking reads | none are made: who waits for a job waits for the bell |
//!
//! A blocking command through the pool would make everybody behind it wait. All of them together
//! connect to a server that does not answer at most seven times in a second, and soon one or two
//! times (`livos_redis_connects_total`). When one breaks, those that are as old are thrown away
//! with it.
//!
//! # When the server is away (P-20)
//!
//! A [`Gate`] counts failures: three in ten seconds, and the server is left alone for thirty; then
//! one PING says whether it is back. Meanwhile
//!
//! - enqueueing goes into a file of the process, by [`crate::queue::SpillQueue`], which moves it
//!   over when the server is back;
//! - reads of the store fall back, and writes are dropped or tried again, as each family of keys
//!   says: see [`crate::store::Away`] and [the table](crate::manual::keys);
//! - leasing fails, and workers ask again; acks and nacks are tried three more times, a second
//!   apart, and then the lease expires.
//!
//! # What is durable
//!
//! What an operator gets from which setting of the server:
//!
//! | setting | a killed server process loses | a killed machine loses |
//! | --- | --- | --- |
//! | `appendonly yes`, `appendfsync always` | nothing that was answered | nothing that was answered |
//! | `appendonly yes`, `appendfsync everysec` (the server's default with it) | nothing that was answered | up to two seconds |
//! | `appendonly yes`, `appendfsync no` | nothing that was answered | up to what the kernel has not written, often thirty seconds |
//! | `save` only (the default) | everything since the last snapshot | everything since the last snapshot |
//! | neither | everything | everything |
//!
//! And in all of them `maxmemory-policy noeviction`, or a full server throws jobs away. Sharing the
//! work with a replica does not change the table: it is written to after the answer was given.

mod check;
mod config;
mod door;
mod error;
mod gate;
mod pace;
mod pool;

pub(crate) use gate::OfRedis;

pub use self::{
    check::Memory,
    config::RedisConfig,
    error::{RedisError, RedisErrorKind},
    gate::Gate,
    pool::Redis,
};
