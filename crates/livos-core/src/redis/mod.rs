//! A Redis server, as the store, the queue and the bus use it: a pool for commands, and connections of their own for what blocks.
//!
//! Never a blocking command through the pool: its reply would outlive the timeout and be taken for that of the next command. A connection that failed in
//! any way is thrown away, so that no command is ever answered by the reply of another.
//!
//! What an operator gets from which setting of the server:
//!
//! | setting | a killed server process loses | a killed machine loses |
//! | --- | --- | --- |
//! | `appendonly yes`, `appendfsync always` | nothing that was answered | nothing that was answered |
//! | `appendonly yes`, `appendfsync everysec` (the server's default with it) | nothing that was answered | up to two seconds |
//! | `save` only (the default) | everything since the last snapshot | everything since the last snapshot |
//! | neither | everything | everything |
//!
//! And in all of them `maxmemory-policy noeviction`, or a full server throws jobs away.

mod error;
mod pool;

pub use error::{RedisError, RedisErrorKind};
pub use pool::{Memory, Redis, RedisConfig};
