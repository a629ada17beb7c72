//! The rate limits: buckets, and all of them together.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

#[derive(Debug, Default)]
pub(super) struct Limits {
    windows: BTreeMap<(&'static str, String), Window>,
    global: Option<Window>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    used: u32,
    until: Instant,
}

/// The bucket of a route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// What Discord calls it.
    pub(super) name: &'static str,
    pub(super) limit: u32,
    pub(super) window: Duration,
    /// Whether it counts against the global limit.
    pub(super) global: bool,
}

/// What a request came to.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) headers: HeaderMap,
    /// For 429: how long, and whether it was the global limit.
    pub(super) refused: Option<(Duration, bool)>,
}

const GLOBAL: u32 = 50;

impl Window {
    fn take(&mut self, now: Instant, limit: u32, length: Duration) -> Option<u32> {
        if self.until <= now {
            *self = Self { used: 0, until: now + length };
        }
        self.used += 1;
        limit.checked_sub(self.used)
    }
}

impl Limits {
    pub(super) fn take(&mut self, now: Instant, bucket: Bucket, major: &str) -> Verdict {
        let mut headers = HeaderMap::new();
        let fresh = Window { used: 0, until: now };
        if bucket.global {
            let global = self.global.get_or_insert(fresh);
            if global.take(now, GLOBAL, Duration::from_secs(1)).is_none() {
                insert(&mut headers, "x-ratelimit-global", "true");
                insert(&mut headers, "x-ratelimit-scope", "global");
                return Verdict { headers, refused: Some((global.until - now, true)) };
            }
        }
        let window = self.windows.entry((bucket.name, major.to_owned())).or_insert(fresh);
        let remaining = window.take(now, bucket.limit, bucket.window);
        let reset_after = window.until - now;
        insert(&mut headers, "x-ratelimit-bucket", bucket.name);
        insert(&mut headers, "x-ratelimit-limit", &bucket.limit.to_string());
        insert(&mut headers, "x-ratelimit-remaining", &remaining.unwrap_or(0).to_string());
        insert(&mut headers, "x-ratelimit-reset-after", &format!("{:.3}", reset_after.as_secs_f64()));
        let refused = remaining.is_none().then_some((reset_after, false));
        if refused.is_some() {
            insert(&mut headers, "x-ratelimit-scope", "user");
        }
        Verdict { headers, refused }
    }
}

fn insert(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(HeaderName::from_static(name), value);
    }
}
