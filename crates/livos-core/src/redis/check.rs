//! Checks of a server, before it is trusted with jobs and while it is used.

use std::sync::atomic::Ordering;

use super::{Redis, RedisError, RedisErrorKind};

/// The memory of a server, and its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the server uses.
    pub used: u64,
    /// Bytes that it may use; `None` for as many as the machine has.
    pub most: Option<u64>,
    /// What it does when it is full, as in `noeviction`.
    pub policy: String,
}

impl Memory {
    /// The used share of the bound, if there is one.
    pub fn share(&self) -> Option<f64> {
        self.most.map(|most| self.used as f64 / most.max(1) as f64)
    }

    /// Whether 80 % of the bound are used: time to act before jobs are refused.
    pub fn is_nearly_full(&self) -> bool {
        self.share().is_some_and(|share| share >= NEARLY_FULL)
    }

    /// Whether it evicts keys when it is full, and jobs with them.
    pub fn evicts(&self) -> bool {
        self.most.is_some() && self.policy != "noeviction"
    }
}

/// The oldest version whose scripts and commands are known to work.
const OLDEST: (u32, u32) = (6, 2);
/// The share from which on a server is nearly full.
const NEARLY_FULL: f64 = 0.8;

impl Redis {
    /// Checks that the server can be trusted with jobs: it answers, is new enough, and evicts
    /// nothing. Unwise settings are logged.
    pub async fn check(&self) -> Result<Memory, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("server")).await?;
        let version = field(&info, "redis_version").unwrap_or_default();
        let mut numbers = version.split('.').map_while(|number| number.parse().ok());
        let known = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if known < OLDEST {
            let message =
                format!("it is version {version}, and {}.{} is the oldest that will do", OLDEST.0, OLDEST.1);
            return Err(RedisError::new(RedisErrorKind::Refused, message));
        }
        let info: String = self.query(redis::cmd("INFO").arg("persistence")).await?;
        if field(&info, "aof_enabled") != Some("1") {
            tracing::warn!(
                "this Redis keeps no append-only file: what it acknowledged is lost when it is killed"
            );
        }
        self.memory().await
    }

    /// The server's memory. A warning is logged, once each until it is over, if 80 % of the bound
    /// are passed or if it would evict jobs.
    pub async fn memory(&self) -> Result<Memory, RedisError> {
        let info: String = self.query(redis::cmd("INFO").arg("memory")).await?;
        let number = |name| field(&info, name).and_then(|value| value.parse::<u64>().ok());
        let memory = Memory {
            used: number("used_memory").unwrap_or(0),
            most: number("maxmemory").filter(|most| *most > 0),
            policy: field(&info, "maxmemory_policy").unwrap_or_default().to_owned(),
        };
        metrics::gauge!("livos_redis_used_bytes").set(memory.used as f64);
        if let Some(share) = memory.share() {
            metrics::gauge!("livos_redis_memory_share").set(share);
        }
        let full = memory.is_nearly_full();
        if full != self.door.nearly_full.swap(full, Ordering::Relaxed) && full {
            tracing::warn!(
                used = memory.used,
                most = memory.most,
                "Redis is nearly full: when it is, jobs are refused, and go into the spill file"
            );
        }
        let evicts = memory.evicts();
        if evicts != self.door.evicting.swap(evicts, Ordering::Relaxed) && evicts {
            tracing::warn!(
                policy = memory.policy,
                "this Redis throws keys away when it is full, and jobs would be among them: set maxmemory-policy to noeviction"
            );
        }
        Ok(memory)
    }
}

/// One field of an `INFO` answer.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
