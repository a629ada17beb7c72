//! Where what must outlive the process is kept.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use livos_core::{
    breaker::BreakerConfig,
    queue::{QueueConfig, WorkerConfig},
    secret::Secret,
};
use serde::Deserialize;

use super::values::duration;

/// The embedded file that holds what must outlive the process. With a Redis it holds what waits
/// while that is away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Its path; `LIVOS_STORE` overrides it. Without either it is `livos.redb` in the folder that
    /// systemd gives (`StateDirectory=`), else in `$XDG_STATE_HOME/livos`, else in
    /// `~/.local/state/livos`, else in `livos-data` below the working folder. `:memory:` keeps
    /// nothing.
    pub path: Option<PathBuf>,
}

impl Store {
    /// The path that keeps nothing.
    pub const MEMORY: &str = ":memory:";

    pub(super) fn default_path(env: impl Fn(&str) -> Option<String>) -> PathBuf {
        const FILE: &str = "livos.redb";
        let systemd = env("STATE_DIRECTORY").and_then(|folders| Some(folders.split(':').next()?.into()));
        let xdg = || Some(PathBuf::from(env("XDG_STATE_HOME")?).join("livos"));
        let home = || Some(PathBuf::from(env("HOME")?).join(".local/state/livos"));
        systemd.or_else(xdg).or_else(home).unwrap_or_else(|| "livos-data".into()).join(FILE)
    }
}

/// The keys with which secrets are sealed. Processes that share a Redis need the same.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Secrets {
    /// The file of the keys, readable by its owner only, and made where it is not there. Without
    /// it: `livos.keys` among the credentials that systemd gives (`LoadCredential=`) where there is
    /// one, else beside the embedded file. Keep it out of the backups of the data.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, for platforms without files; `LIVOS_KEYS` overrides it. Then no file is
    /// read.
    pub keys: Option<Secret>,
}

impl Secrets {
    const FILE: &str = "livos.keys";

    pub(super) fn default_file(env: impl Fn(&str) -> Option<String>, store: &Path) -> Option<PathBuf> {
        let credential = env("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(Self::FILE));
        let beside = || (store != Path::new(Store::MEMORY)).then(|| store.with_file_name(Self::FILE));
        credential.filter(|file| file.exists()).or_else(beside)
    }
}

/// A Redis server, for several processes that share the work. Two deployments on one server take
/// two of its databases: `…/0` and `…/1`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://[user][:password@]host[:port][/database]` or `unix:///path`; `REDIS_URL` overrides
    /// it. Without it everything is in the embedded file.
    pub url: Option<Secret>,
    /// How long it is left alone once it failed three times in ten seconds; then one PING asks
    /// whether it is back.
    #[serde(deserialize_with = "duration")]
    pub left_alone_for: Duration,
}

impl Default for Redis {
    fn default() -> Self {
        Self { url: None, left_alone_for: BreakerConfig::default().open_for }
    }
}

impl Redis {
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
pub struct Queue {
    /// Its name in Redis: 1 to 64 of `a-z`, `0-9`, `.`, `-` and `_`.
    pub name: String,
    /// Jobs from which on an alert is logged.
    pub alert_at: u64,
    /// Jobs beyond which new ones are refused.
    pub refuse_at: u64,
    /// Jobs that this process works on at one time.
    pub concurrency: usize,
}

impl Default for Queue {
    fn default() -> Self {
        let (queue, worker) = (QueueConfig::default(), WorkerConfig::default());
        Self {
            name: "livos".into(),
            alert_at: queue.alert_at,
            refuse_at: queue.refuse_at,
            concurrency: worker.concurrency,
        }
    }
}
