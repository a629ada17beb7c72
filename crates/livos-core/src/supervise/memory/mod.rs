//! Resident memory, watched: a leak ends in an orderly restart, and not with the kernel's killer in
//! the middle of a sentence.
//!
//! [`MemoryWatch`] decides, [`watch`] samples and acts. Past the soft limit the process should
//! drain and exit with [`EXIT_CODE`], which a service manager is told to answer with a restart;
//! `RestartForceExitStatus=75` in systemd.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use livos_core::supervise::memory::{MemoryConfig, MemoryEvent, MemorySample, MemoryWatch};
//!
//! let start = Instant::now();
//! let mut watch = MemoryWatch::new(MemoryConfig::below(1_000_000_000));
//! let sample = |resident| MemorySample { resident, live: 0, begun: 0 };
//! watch.sample(start, sample(900_000_000));
//! let events = watch.sample(start + Duration::from_secs(10), sample(900_000_000));
//! assert!(matches!(events[..], [MemoryEvent::Over(over)] if over.soft_limit == 800_000_000));
//! ```

mod driver;
mod limit;
mod value;

pub use self::{
    driver::watch,
    limit::{LimitSource, MemoryLimit, limit, resident},
    value::{MemoryConfig, MemoryEvent, MemoryLine, MemorySample, MemoryWatch, Overrun},
};

/// The exit code of a process that drained because it had grown past its soft limit: 75, which says
/// by convention that a later try may succeed.
pub const EXIT_CODE: u8 = 75;
