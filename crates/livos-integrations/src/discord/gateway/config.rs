//! How a bot listens, and what it defaults to.

use std::time::Duration;

use livos_core::backoff::BackoffConfig;

use super::{event::Presence, machine::GatewayConfig, progress::IdentifyLimits};
use crate::discord::{Groups, JobConfig};

/// How a bot listens.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// The bot's name in the queue and the store. `bot`; a second bot over the same ones needs
    /// another.
    pub name: String,
    /// The name of this process. `listener`. Of those that listen for one bot, one is connected and
    /// the others wait; one that is started again under its name, after a kill for instance, does
    /// not wait for itself. Processes that run side by side need different names.
    pub holder: String,
    /// How long the bot is this process's without a word of it. 30 s: how long another waits after
    /// a kill.
    pub guard: Duration,
    /// What Discord tells. 4,609: servers, messages in them, and direct messages. Without the
    /// privileged intent for content (32,768), messages of a server are empty unless they mention
    /// the bot, which is what [`Groups::Addressed`] wants anyway.
    pub intents: u32,
    /// How the connection is kept.
    pub gateway: GatewayConfig,
    /// How many sessions may be begun.
    pub identify: IdentifyLimits,
    /// Which messages of servers become jobs.
    pub groups: Groups,
    /// How jobs are made.
    pub jobs: JobConfig,
    /// What the bot shows of itself once a session began.
    pub presence: Option<Presence>,
    /// Where the gateway is, until Discord says it over HTTP.
    pub url: String,
    /// How long connecting and both handshakes may take together. 10 s: nobody waits for it.
    pub handshake_timeout: Duration,
    /// Bytes of the longest event. 16 MiB: the picture of a very large server.
    pub max_message: usize,
    /// Events that wait while the queue is slow. 1,000; beyond, the connection is given up and
    /// Discord keeps what follows, to replay it.
    pub backlog: usize,
    /// How old a message may be that is fetched after an outage. 24 h: an answer later than that
    /// surprises more than it helps.
    pub catch_up_age: Duration,
    /// Pages of a hundred messages that are fetched of one channel after an outage. 20.
    pub catch_up_pages: u32,
    /// The waits before a durable step or a page is tried again.
    pub retry: BackoffConfig,
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            name: "bot".into(),
            holder: "listener".into(),
            guard: Duration::from_secs(30),
            intents: 4609,
            gateway: GatewayConfig::default(),
            identify: IdentifyLimits::default(),
            groups: Groups::default(),
            jobs: JobConfig::default(),
            presence: None,
            url: "wss://gateway.discord.gg".into(),
            handshake_timeout: Duration::from_secs(10),
            max_message: 16 << 20,
            backlog: 1000,
            catch_up_age: Duration::from_secs(24 * 3600),
            catch_up_pages: 20,
            retry: BackoffConfig::default(),
        }
    }
}
