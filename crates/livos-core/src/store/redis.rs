//! The store in a Redis server.
//!
//! A value is a hash of its data, its version and its expiry; the counters of a key are another
//! hash. The server frees expired keys by its own clock. Until then, the expiry in the hash is
//! compared with the caller's clock.

use std::sync::LazyLock;

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Script, ScriptInvocation};

use super::{Entry, Found, Key, Lifetime, Put, Store, StoreError, check_field, check_value};
use crate::{
    redis::{Redis, RedisError},
    time::Timestamp,
};

/// A [`Store`] in a [`Redis`] server.
#[derive(Debug, Clone)]
pub struct RedisStore {
    redis: Redis,
}

macro_rules! scripts {
    ($($name:ident = $body:literal;)*) => {$(
        static $name: LazyLock<Script> = LazyLock::new(|| Script::new(concat!(
            r"
            local value, counters, now, expires = KEYS[1], KEYS[2], tonumber(ARGV[1]), ARGV[2]
            -- Whether a hash is there and lives.
            local function lives(key)
                local at = redis.call('HGET', key, 'x')
                return at and (at == '' or tonumber(at) > now)
            end
            local function expire(key)
                redis.call('HSET', key, 'x', expires)
                if expires == '' then
                    redis.call('PERSIST', key)
                else
                    redis.call('PEXPIREAT', key, expires)
                end
            end
            ",
            $body
        )));
    )*};
}

scripts! {
    GET = r"
        return lives(value) and redis.call('HMGET', value, 'd', 'v')";
    PUT = r"
        local version = lives(value) and redis.call('HGET', value, 'v')
        if ARGV[4] == '1' and (version or '') ~= ARGV[5] then
            return {0, version and tonumber(version) or 0}
        end
        local next = (version and tonumber(version) or 0) + 1
        redis.call('HSET', value, 'd', ARGV[3], 'v', next)
        expire(value)
        return {1, next}";
    REMOVE = r"
        local lived = lives(value) or lives(counters)
        redis.call('DEL', value, counters)
        return lived and 1 or 0";
    ADD = r"
        if not lives(counters) then
            redis.call('DEL', counters)
        end
        local after = {}
        for at = 3, #ARGV, 3 do
            local field = 'f' .. ARGV[at]
            local added = redis.pcall('HINCRBY', counters, field, ARGV[at + 1])
            if type(added) == 'table' and added.err then
                if not string.find(added.err, 'overflow') then
                    return added
                end
                redis.call('HSET', counters, field, ARGV[at + 2])
            end
            after[#after + 1] = redis.call('HGET', counters, field)
        end
        expire(counters)
        return after";
    COUNTERS = r"
        return lives(counters) and redis.call('HGETALL', counters) or {}";
    // When a key expires: a time, or nothing for never; false where it does not live. What is not
    // of this store expires as the server says.
    EXPIRY = r"
        local latest = false
        for _, key in ipairs({value, counters}) do
            local kind, at = redis.call('TYPE', key).ok, false
            if kind == 'hash' then
                at = redis.call('HGET', key, 'x')
            end
            if not at and kind ~= 'none' then
                local left = redis.call('PTTL', key)
                at = left < 0 and '' or string.format('%.0f', now + left)
            end
            if at == '' or latest == '' then
                latest = ''
            elseif at and tonumber(at) > now and (not latest or tonumber(at) > tonumber(latest)) then
                latest = at
            end
        end
        return latest";
}

impl RedisStore {
    /// The store in this server.
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    fn script<'a>(&self, script: &'a Script, now: Timestamp, key: &Key) -> ScriptInvocation<'a> {
        let expires = match key.lifetime() {
            Lifetime::For(time) => now.plus(time).unix_ms().max(1).to_string(),
            Lifetime::Forever { .. } => String::new(),
        };
        let mut invocation = script.prepare_invoke();
        invocation.key(key.as_str()).key(counters_key(key.as_str())).arg(now.unix_ms()).arg(expires);
        invocation
    }

    async fn write(
        &self,
        now: Timestamp,
        key: &Key,
        value: &Bytes,
        condition: Option<Option<u64>>,
    ) -> Result<Put, StoreError> {
        check_value(value)?;
        let mut put = self.script(&PUT, now, key);
        let version = condition.flatten().map(|version| version.to_string()).unwrap_or_default();
        put.arg(value.as_ref()).arg(u8::from(condition.is_some())).arg(version);
        let (written, version): (u8, u64) = self.redis.run(&put).await?;
        Ok(match written {
            1 => Put::Written(version),
            _ => Put::Conflict(Some(version).filter(|version| *version > 0)),
        })
    }
}

/// The prefix of the keys of queues.
const QUEUES: &str = "livos:queue:{";

fn counters_key(key: &str) -> String {
    format!("{key}\0")
}

/// A glob pattern for all keys with exactly this prefix.
fn escaped(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('*');
    pattern
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, now: Timestamp, key: &Key) -> Result<Option<Entry>, StoreError> {
        let found: Option<(Vec<u8>, u64)> = self.redis.run(&self.script(&GET, now, key)).await?;
        Ok(found.map(|(value, version)| Entry { value: value.into(), version }))
    }

    async fn put(&self, now: Timestamp, key: &Key, value: Bytes) -> Result<u64, StoreError> {
        match self.write(now, key, &value, None).await? {
            Put::Written(version) => Ok(version),
            Put::Conflict(_) => Err(RedisError::broken("a write without a condition met a conflict").into()),
        }
    }

    async fn put_if(
        &self,
        now: Timestamp,
        key: &Key,
        value: Bytes,
        version: Option<u64>,
    ) -> Result<Put, StoreError> {
        self.write(now, key, &value, Some(version)).await
    }

    async fn remove(&self, now: Timestamp, key: &Key) -> Result<bool, StoreError> {
        Ok(self.redis.run(&self.script(&REMOVE, now, key)).await?)
    }

    async fn add(&self, now: Timestamp, key: &Key, field: &str, delta: i64) -> Result<i64, StoreError> {
        let after = self.add_all(now, key, &[(field.to_owned(), delta)]).await?;
        after.first().copied().ok_or_else(|| RedisError::broken("a counter without a value").into())
    }

    async fn add_all(
        &self,
        now: Timestamp,
        key: &Key,
        deltas: &[(String, i64)],
    ) -> Result<Vec<i64>, StoreError> {
        deltas.iter().try_for_each(|(field, _)| check_field(field))?;
        let mut add = self.script(&ADD, now, key);
        for (field, delta) in deltas {
            let end = if *delta < 0 { i64::MIN } else { i64::MAX };
            add.arg(field).arg(delta).arg(end);
        }
        Ok(self.redis.run(&add).await?)
    }

    async fn counters(&self, now: Timestamp, key: &Key) -> Result<Vec<(String, i64)>, StoreError> {
        let fields: Vec<(String, String)> = self.redis.run(&self.script(&COUNTERS, now, key)).await?;
        let counter = |(field, value): (String, String)| {
            Some((field.strip_prefix('f')?.to_owned(), value.parse().ok()?))
        };
        let mut counters: Vec<(String, i64)> = fields.into_iter().filter_map(counter).collect();
        counters.sort();
        Ok(counters)
    }

    /// Reads all keys of the server once for every page. Keys of other programs are found too, but
    /// not those of queues.
    async fn scan(
        &self,
        now: Timestamp,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let (pattern, mut cursor, mut keys) = (escaped(prefix), 0u64, std::collections::BTreeSet::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let (next, page): (u64, Vec<String>) = self.redis.query(&scan).await?;
            let page = page.into_iter().filter(|key| !key.starts_with(QUEUES));
            keys.extend(page.map(|key| key.trim_end_matches('\0').to_owned()));
            if next == 0 {
                break;
            }
            cursor = next;
        }
        let mut found = Vec::new();
        for key in keys.into_iter().filter(|key| after.is_none_or(|after| key.as_str() > after)) {
            if found.len() == limit {
                break;
            }
            let mut expiry = EXPIRY.prepare_invoke();
            expiry.key(&key).key(counters_key(&key)).arg(now.unix_ms()).arg("");
            let expires: Option<String> = self.redis.run(&expiry).await?;
            if let Some(expires) = expires {
                let expires = expires.parse().ok().map(Timestamp::from_unix_ms);
                found.push(Found { key, expires });
            }
        }
        Ok(found)
    }
}
