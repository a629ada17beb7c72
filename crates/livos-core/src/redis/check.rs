//! What is asked of a server before it is trusted with anything, and while it is.

use std::sync::atomic::Ordering;

use super::{Redis, RedisError, RedisErrorKind};

/// How a server's memory stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Bytes in use.
    pub used: u64,
    /// Bytes allowed; none for as many as the machine has.
    pub most: Option<u64>,
    /// What it does when it is full, as in `noeviction`.
    pub policy: String,
}

impl Memory {
    /// How full it is, where there is a bound.
    pub fn share(&self) -> Option<f64> {
        self.most.map(|most| self.used as f64 / most.max(1) as f64)
    }

    /// Whether 80 % of its bound are used: time for somebody to do something before jobs are
    /// refused.
    pub fn is_nearly_full(&self) -> bool {
        self.share().is_some_and(|share| share >= NEARLY_FULL)
    }

    /// Whether it throws keys away when it is full, and jobs with them.
    pub fn evicts(&self) -> bool {
        self.most.is_some() && self.policy != "noeviction"
    }
}

/// The oldest server whose scripts and commands are known to do.
const OLDEST: (u32, u32) = (6, 2);
/// From here on a server is nearly full.
const NEARLY_FULL: f64 = 0.8;

impl Redis {
    /// Asks whether the server can be trusted with jobs: it answers, is not too old, and throws
    /// nothing away. What is only unwise is logged.
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

    /// How its memory stands. A warning is logged when 80 % of its bound are passed, and when it
    /// would throw jobs away; each once, until it is over.
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

/// A field of the answer to `INFO`.
fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
