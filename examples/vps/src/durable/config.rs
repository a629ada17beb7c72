//! The sections `[store]`, `[secrets]`, `[redis]` and `[queue]`.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use livos_core::{
    backoff::BackoffConfig,
    breaker::BreakerConfig,
    queue::{QueueConfig, RedisQueue, WorkerConfig},
    redis::{Redis, RedisConfig},
    seal::KeyRing,
    secret::Secret,
};
use serde::Deserialize;

use crate::config::{ConfigError, Document, Environment, Section, duration};

/// Where everything is kept that must outlive the process.
pub struct DurableConfig {
    pub store: StoreSection,
    /// The keys of the secrets in the store.
    pub secrets: SecretsSection,
    /// A Redis that several processes share.
    pub redis: RedisSection,
    /// The queue of jobs.
    pub queue: QueueSection,
}

impl DurableConfig {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        let store: StoreSection = document.section()?;
        let mut secrets: SecretsSection = document.section()?;
        secrets.find_key_file(document.environment(), store.path());
        let config = Self { store, secrets, redis: document.section()?, queue: document.section()? };
        config.check_queue_name()?;
        Ok(config)
    }

    /// The socket next to the embedded file, if there is a file.
    pub fn control_socket(&self) -> Option<PathBuf> {
        self.store.path().map(|path| path.with_extension("sock"))
    }

    fn check_queue_name(&self) -> Result<(), ConfigError> {
        let Some(redis) = self.redis().map_err(|error| ConfigError::of("redis.url", error))? else {
            return Ok(());
        };
        let queue = RedisQueue::new(redis, &self.queue.name, QueueConfig::default());
        queue.map(drop).map_err(|error| ConfigError::of("queue.name", error))
    }

    /// A client of the Redis that is configured. It is not connected yet.
    pub fn redis(&self) -> Result<Option<Redis>, livos_core::redis::RedisError> {
        self.redis.url.clone().map(|url| Redis::new(RedisConfig::new(url))).transpose()
    }
}

/// The embedded file that holds what must outlive the process. With a Redis it holds what waits
/// while that is away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoreSection {
    /// Its path; `LIVOS_STORE` overrides it. Without either it is `livos.redb` in the folder that
    /// systemd gives (`StateDirectory=`), else in `$XDG_STATE_HOME/livos`, else in
    /// `~/.local/state/livos`, else in `livos-data` below the working folder. `:memory:` keeps
    /// nothing.
    pub path: Option<PathBuf>,
}

impl Section for StoreSection {
    const NAME: &'static str = "store";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        let path = environment.var("LIVOS_STORE").map(PathBuf::from).or_else(|| self.path.take());
        self.path = Some(path.unwrap_or_else(|| Self::default_path(environment)));
        Ok(())
    }
}

impl StoreSection {
    /// The path that keeps nothing.
    const MEMORY: &str = ":memory:";

    /// The path of the file; `None` to keep everything in memory.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| *path != Path::new(Self::MEMORY))
    }

    fn default_path(environment: Environment<'_>) -> PathBuf {
        const FILE: &str = "livos.redb";
        let var = |name| environment.var(name);
        let systemd = var("STATE_DIRECTORY").and_then(|folders| Some(folders.split(':').next()?.into()));
        let xdg = || Some(PathBuf::from(var("XDG_STATE_HOME")?).join("livos"));
        let home = || Some(PathBuf::from(var("HOME")?).join(".local/state/livos"));
        systemd.or_else(xdg).or_else(home).unwrap_or_else(|| "livos-data".into()).join(FILE)
    }
}

/// The keys with which secrets are sealed. Processes that share a Redis need the same.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecretsSection {
    /// The file of the keys, readable by its owner only, and created if it is missing. Without this
    /// setting it is `livos.keys` among the credentials that systemd gives (`LoadCredential=`),
    /// else next to the embedded file. Keep it out of the backups of the data.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, for platforms without files; `LIVOS_KEYS` overrides it. Then no file is
    /// read.
    pub keys: Option<Secret>,
}

impl Section for SecretsSection {
    const NAME: &'static str = "secrets";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.keys, "LIVOS_KEYS");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        self.key_ring().map(drop)
    }
}

impl SecretsSection {
    /// The keys, if they are configured themselves and not in a file.
    pub fn key_ring(&self) -> Result<Option<KeyRing>, ConfigError> {
        let ring = self.keys.as_ref().map(KeyRing::parse).transpose();
        ring.map_err(|error| ConfigError::of("secrets.keys (LIVOS_KEYS)", error))
    }

    fn find_key_file(&mut self, environment: Environment<'_>, store: Option<&Path>) {
        const FILE: &str = "livos.keys";
        let credential =
            || environment.var("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(FILE));
        let near_the_store = || store.map(|store| store.with_file_name(FILE));
        let found = || credential().filter(|file| file.exists()).or_else(near_the_store);
        self.key_file = self.key_file.take().or_else(found);
    }
}

/// A Redis server, for several processes that share the work. Two deployments on one server take
/// two of its databases: `…/0` and `…/1`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSection {
    /// `redis://[user][:password@]host[:port][/database]` or `unix:///path`; `REDIS_URL` overrides
    /// it. Without it everything is in the embedded file.
    pub url: Option<Secret>,
    /// How long it is left alone once it failed three times in ten seconds; then one PING asks
    /// whether it is back.
    #[serde(deserialize_with = "duration")]
    pub left_alone_for: Duration,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self { url: None, left_alone_for: BreakerConfig::default().open_for }
    }
}

impl Section for RedisSection {
    const NAME: &'static str = "redis";

    fn apply(&mut self, environment: Environment<'_>) -> Result<(), ConfigError> {
        environment.secret(&mut self.url, "REDIS_URL");
        Ok(())
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let client = self.url.clone().map(|url| Redis::new(RedisConfig::new(url))).transpose();
        client.map(drop).map_err(|error| ConfigError::of("redis.url (REDIS_URL)", error))
    }
}

impl RedisSection {
    /// The breaker in front of it.
    pub fn breaker(&self) -> BreakerConfig {
        let mut breaker = BreakerConfig::default();
        breaker.open_for = self.left_alone_for;
        breaker
    }
}

/// The queue of jobs. Processes that share it must agree on all of this.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSection {
    /// Its name in Redis: 1 to 64 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub name: String,
    /// Jobs from which on an alert is logged.
    pub alert_at: u64,
    /// Jobs beyond which new ones are refused.
    pub refuse_at: u64,
    /// Jobs that this process works on at one time.
    pub concurrency: usize,
    /// How long a job waits at first when a provider is away, a key is refused or a budget is used
    /// up, before it is tried again. Each wait is twice the one before.
    #[serde(deserialize_with = "duration")]
    pub outage_first: Duration,
    /// The longest of these waits.
    #[serde(deserialize_with = "duration")]
    pub outage_longest: Duration,
}

impl Default for QueueSection {
    fn default() -> Self {
        let (queue, worker) = (QueueConfig::default(), WorkerConfig::default());
        Self {
            name: "livos".into(),
            alert_at: queue.alert_at,
            refuse_at: queue.refuse_at,
            concurrency: worker.concurrency,
            outage_first: worker.outage.first,
            outage_longest: worker.outage.longest,
        }
    }
}

impl Section for QueueSection {
    const NAME: &'static str = "queue";

    fn validate(&self) -> Result<(), ConfigError> {
        if self.refuse_at == 0 || self.concurrency == 0 {
            return Err(ConfigError::of("queue", "refuse_at and concurrency must be at least 1"));
        }
        if self.outage_first.is_zero() || self.outage_longest < self.outage_first {
            let why = "outage_first must be more than zero and at most outage_longest";
            return Err(ConfigError::of("queue", why));
        }
        Ok(())
    }
}

impl QueueSection {
    /// The waits of a job during an outage.
    pub fn outage(&self) -> BackoffConfig {
        BackoffConfig::default().with_first(self.outage_first).with_longest(self.outage_longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_where_the_environment_says_or_where_a_person_would_look() {
        type Case<'c> = (&'c [(&'c str, &'c str)], Option<&'c str>);
        let table: [Case<'_>; 6] = [
            (&[("LIVOS_STORE", "/x/y"), ("HOME", "/home/a")], Some("/x/y")),
            (
                &[("STATE_DIRECTORY", "/var/lib/livos:/z"), ("HOME", "/home/a")],
                Some("/var/lib/livos/livos.redb"),
            ),
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/home/a")], Some("/s/livos/livos.redb")),
            (&[("HOME", "/home/a")], Some("/home/a/.local/state/livos/livos.redb")),
            (&[("HOME", "")], Some("livos-data/livos.redb")),
            (&[("LIVOS_STORE", ":memory:")], None),
        ];
        for (environment, expected) in table {
            let lookup = |name: &str| {
                environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let mut document = Document::parse("", None, Environment::new(&lookup)).unwrap();
            let config = DurableConfig::read(&mut document).unwrap();
            assert_eq!(config.store.path(), expected.map(Path::new), "{environment:?}");
            let keys = expected.map(|path| Path::new(path).with_file_name("livos.keys"));
            assert_eq!(config.secrets.key_file, keys, "{environment:?}");
        }
    }

    #[test]
    fn keys_and_addresses_that_can_not_work_are_refused_when_they_are_read() {
        for (variable, value, expected) in [
            ("LIVOS_KEYS", "nonsense", "secrets.keys (LIVOS_KEYS)"),
            ("REDIS_URL", "http://nonsense", "redis.url (REDIS_URL)"),
        ] {
            let lookup = |name: &str| (name == variable).then(|| value.to_owned());
            let mut document = Document::parse("", None, Environment::new(&lookup)).unwrap();
            let error = DurableConfig::read(&mut document).err().unwrap().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
