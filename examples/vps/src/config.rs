//! The configuration of a deployment: one TOML file, overridden by the environment, overridden by the command line.
//!
//! A misspelt key is an error that names the key and the nearest known one, because a setting that is silently ignored is found
//! months later. Errors name the line and never show it: the line may hold a key.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use http::Uri;
use livos_core::{
    breaker::BreakerConfig,
    budget::Period,
    queue::{QueueConfig, WorkerConfig},
    secret::Secret,
    supervise::memory::MemoryConfig,
    usage::{Prices, Zone},
};
use serde::{Deserialize, Deserializer, de};

/// The whole configuration. Every field has a default: an empty file is valid, and gives a demo with simulated providers.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP server.
    pub server: Server,
    /// Speech to text.
    pub deepgram: Deepgram,
    /// Text to speech.
    pub cartesia: Cartesia,
    /// The model.
    pub anthropic: Anthropic,
    /// Turn taking and voice activity.
    pub voice: Voice,
    /// What a day, a week and five hours may cost.
    pub budget: Budget,
    /// How usage is shown, priced and kept.
    pub usage: Usage,
    /// What is logged, and how.
    pub log: Log,
    /// How memory is watched.
    pub memory: Memory,
    /// Where traces go.
    pub telemetry: Telemetry,
    /// The embedded file.
    pub store: Store,
    /// The keys of what is sealed in the store.
    pub secrets: Secrets,
    /// A Redis that several processes share.
    pub redis: Redis,
    /// The queue of jobs.
    pub queue: Queue,
    /// Access to a Google account.
    pub google: Google,
    /// The mailbox of that account.
    pub gmail: Gmail,
    /// A bot in Telegram.
    pub telegram: ChatApp,
    /// A bot in Discord.
    pub discord: ChatApp,
    /// How people in chat apps are paired.
    pub pairing: Pairing,
    /// Endpoints of webhooks.
    pub webhooks: Vec<Webhook>,
    /// The simulated providers that stand in where no key is set.
    pub twins: Twins,
}

/// An endpoint of webhooks, at `/hooks/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name in the path and in the kind of its jobs: 1 to 48 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// Who sends.
    pub provider: WebhookProvider,
    /// The active secrets, at most four; for Discord the application's public key. Pub/Sub has none.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// What the agent is told to do with a delivery, which it reads as text from outside.
    #[serde(default = "Webhook::task")]
    pub task: String,
    /// For Twilio: the URL that is configured there, without its query.
    #[serde(default)]
    pub url: Option<String>,
    /// For Pub/Sub and Gmail: the subscription's audience.
    #[serde(default)]
    pub audience: Option<String>,
    /// For Pub/Sub and Gmail: the account that the subscription signs with.
    #[serde(default)]
    pub email: Option<String>,
    /// For `hmac`: where the signature is.
    #[serde(default)]
    pub signature_header: Option<String>,
    /// For `hmac`: what stands before the signature in its header.
    #[serde(default)]
    pub prefix: Option<String>,
    /// For `hmac`: where the id is.
    #[serde(default)]
    pub id_header: Option<String>,
    /// For `hmac`: where the time is.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// For `hmac`: what is signed, such as `{timestamp}.{body}`; the body alone where absent.
    #[serde(default)]
    pub signed: Option<String>,
}

impl Webhook {
    fn task() -> String {
        "A service reported an event. Say in one or two sentences what happened and whether anything is to be done.".into()
    }
}

/// Who sends webhooks, and by which scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The names say it.
pub enum WebhookProvider {
    Github,
    Stripe,
    Standard,
    Svix,
    Slack,
    Discord,
    DiscordEvents,
    Twilio,
    Shopify,
    Gitlab,
    GitlabToken,
    Linear,
    Telegram,
    Pubsub,
    /// Pub/Sub too; what it pushes wakes the watch of the mailbox, and is not handed to the agent.
    Gmail,
    Hmac,
}

/// The HTTP server.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Server {
    /// Where it listens. Loopback by default: put a TLS proxy in front before opening it to a network.
    pub listen: SocketAddr,
    /// The bearer token of programs; without it only the browser's session cookie is accepted.
    pub token: Option<Secret>,
    /// The address people use, where a proxy stands in front; printed in the login link and allowed as an `Origin`.
    pub public_url: Option<String>,
    /// The header in which the proxy in front says who calls, such as `x-forwarded-for`. Its last address is believed, so name it only if the proxy adds
    /// one to every request; without it all who come through the proxy share one limit.
    pub forwarded_header: Option<String>,
    /// Further origins that may open a voice socket.
    pub allowed_origins: Vec<String>,
    /// Voice sessions at one time. 16: each holds two provider connections, and small provider plans allow few.
    pub max_voice_sessions: usize,
    /// TCP connections at one time. 512: a small server's file descriptors are finite.
    pub max_connections: usize,
    /// How long a drain may take before what still runs is cut. 10 s: well below the 90 s after which systemd kills.
    #[serde(deserialize_with = "duration")]
    pub drain_timeout: Duration,
    /// How often providers are checked for `/readyz`. 30 s: fresh enough for a load balancer, nothing for a provider.
    #[serde(deserialize_with = "duration")]
    pub probe_interval: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8420)),
            token: None,
            public_url: None,
            forwarded_header: None,
            allowed_origins: Vec::new(),
            max_voice_sessions: 16,
            max_connections: 512,
            drain_timeout: Duration::from_secs(10),
            probe_interval: Duration::from_secs(30),
        }
    }
}

/// Speech to text by Deepgram, or a server that speaks its protocol. What is not set is the client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Deepgram {
    /// The key; `DEEPGRAM_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `wss://…`, or `ws://…` on loopback; `DEEPGRAM_URL` overrides it.
    pub url: Option<String>,
    /// `listen` (v1, the default) or `flux` (v2, the provider judges turns).
    pub api: DeepgramApi,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The language, as a BCP 47 tag.
    pub language: Option<String>,
    /// Words to listen for.
    pub keyterms: Vec<String>,
    /// How long to wait for the last words of a turn.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_timeout: Option<Duration>,
    /// Silence after which a keep-alive is sent.
    #[serde(deserialize_with = "optional_duration")]
    pub keep_alive_interval: Option<Duration>,
    /// Audio sent without any answer after which one is due.
    #[serde(deserialize_with = "optional_duration")]
    pub answer_due_after: Option<Duration>,
    /// An answer is due and nothing came for this long: the connection is replaced.
    #[serde(deserialize_with = "optional_duration")]
    pub mute_after: Option<Duration>,
    /// Silence that marks a new connection as used, at its price; for a provider that closes unused ones and takes long to open another.
    #[serde(deserialize_with = "optional_duration")]
    pub opening_silence: Option<Duration>,
    /// How much speech is kept in case the connection breaks.
    #[serde(deserialize_with = "optional_duration")]
    pub retained: Option<Duration>,
    /// How long a proper close may take.
    #[serde(deserialize_with = "optional_duration")]
    pub close_timeout: Option<Duration>,
    /// The first wait before connecting again; each is twice the one before.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_first: Option<Duration>,
    /// The longest wait before connecting again.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_longest: Option<Duration>,
}

/// Which of Deepgram's two streaming interfaces is used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeepgramApi {
    /// `/v1/listen`.
    #[default]
    Listen,
    /// `/v2/listen`.
    Flux,
}

/// Text to speech by Cartesia, or a server that speaks its protocol. What is not set is the client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cartesia {
    /// The key; `CARTESIA_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `wss://…`, or `ws://…` on loopback; `CARTESIA_URL` overrides it.
    pub url: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The voice's id.
    pub voice: Option<String>,
    /// The language, as a BCP 47 tag.
    pub language: Option<String>,
    /// How long the provider may gather text before it speaks.
    #[serde(deserialize_with = "optional_duration")]
    pub max_buffer_delay: Option<Duration>,
    /// Text was sent and nothing came for this long: the connection is replaced.
    #[serde(deserialize_with = "optional_duration")]
    pub mute_after: Option<Duration>,
    /// An idle connection is replaced after this long.
    #[serde(deserialize_with = "optional_duration")]
    pub recycle_after: Option<Duration>,
    /// A pause after which further text goes into a new context.
    #[serde(deserialize_with = "optional_duration")]
    pub context_idle: Option<Duration>,
    /// The wait before a failed context is tried again.
    #[serde(deserialize_with = "optional_duration")]
    pub retry_delay: Option<Duration>,
    /// The first wait before connecting again; each is twice the one before.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_first: Option<Duration>,
    /// The longest wait before connecting again.
    #[serde(deserialize_with = "optional_duration")]
    pub reconnect_longest: Option<Duration>,
}

/// The model by Anthropic, or a server that speaks its protocol. What is not set is the client's own default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Anthropic {
    /// The key; `ANTHROPIC_API_KEY` overrides it.
    pub api_key: Option<Secret>,
    /// `https://…`, or `http://…` on loopback; `ANTHROPIC_BASE_URL` overrides it.
    pub url: Option<String>,
    /// The model, as the provider names it.
    pub model: Option<String>,
    /// The most tokens of one answer.
    pub max_tokens: Option<u32>,
    /// What the agent is told about itself.
    pub system: Option<String>,
    /// Nothing came after the request for this long: it failed.
    #[serde(deserialize_with = "optional_duration")]
    pub first_event_timeout: Option<Duration>,
    /// Nothing came in the middle of an answer for this long: it failed.
    #[serde(deserialize_with = "optional_duration")]
    pub idle_timeout: Option<Duration>,
}

/// Turn taking and voice activity. What is not set is the pipeline's own default; each default is explained at
/// `livos_voice::turn::TurnConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Voice {
    /// Silence after which a turn that looks finished is over.
    #[serde(deserialize_with = "optional_duration")]
    pub min_delay: Option<Duration>,
    /// Silence after which a turn is over however it looks.
    #[serde(deserialize_with = "optional_duration")]
    pub max_delay: Option<Duration>,
    /// Whether the model is asked while the silence that ends a turn is still waited for. Off, answers come later, and no call is made in vain.
    pub speculate: Option<bool>,
    /// Silence after which the recogniser is asked for its last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_after: Option<Duration>,
    /// How long to wait for the recogniser's last words.
    #[serde(deserialize_with = "optional_duration")]
    pub finalize_timeout: Option<Duration>,
    /// The same when the recogniser's connection broke during the turn.
    #[serde(deserialize_with = "optional_duration")]
    pub recovery_timeout: Option<Duration>,
    /// Speech over the agent's voice that is an interruption even without a recognised word.
    #[serde(deserialize_with = "optional_duration")]
    pub min_interruption: Option<Duration>,
    /// A pause of the agent's voice without a recognised word after which it goes on.
    #[serde(deserialize_with = "optional_duration")]
    pub false_interruption: Option<Duration>,
    /// The longest turn of the user.
    #[serde(deserialize_with = "optional_duration")]
    pub max_turn: Option<Duration>,
}

/// What may be used, by UTC day, by UTC week and in any five hours; zero means no limit. All limits begin anew at midnight UTC, of the day or of Monday;
/// what was used five hours ago leaves the window. The defaults for a day stop a runaway, and are more than a person talks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Minutes of audio sent to speech to text in a day.
    pub speech_minutes: u64,
    /// Characters sent to text to speech in a day.
    pub voice_characters: u64,
    /// Tokens read and written by the model in a day.
    pub tokens: u64,
    /// US cents for all of it in a day, by the prices under `[usage.prices]`.
    pub cents: u64,
    /// A warning is logged from this share of a limit on. 80: there is time to do something about it.
    pub warn_percent: u64,
    /// The same for a week, without limits by default.
    pub week: Allowance,
    /// The same for any five hours, without limits by default.
    pub window: Allowance,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            speech_minutes: 240,
            voice_characters: 200_000,
            tokens: 5_000_000,
            cents: 1_000,
            warn_percent: 80,
            week: Allowance::default(),
            window: Allowance::default(),
        }
    }
}

/// What may be used over some time; zero means no limit.
#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allowance {
    /// Minutes of audio sent to speech to text.
    pub speech_minutes: u64,
    /// Characters sent to text to speech.
    pub voice_characters: u64,
    /// Tokens read and written by the model.
    pub tokens: u64,
    /// US cents.
    pub cents: u64,
}

impl Budget {
    /// The allowance of each period.
    pub fn periods(&self) -> [(Period, Allowance); 3] {
        let day = Allowance {
            speech_minutes: self.speech_minutes,
            voice_characters: self.voice_characters,
            tokens: self.tokens,
            cents: self.cents,
        };
        [(Period::Day, day), (Period::Week, self.week.clone()), (Period::Window, self.window.clone())]
    }

    /// Whether money is limited.
    pub fn limits_money(&self) -> bool {
        self.periods().iter().any(|(_, allowance)| allowance.cents > 0)
    }
}

/// How usage is shown, priced and kept.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Usage {
    /// The time zone in which instants are shown, by its IANA name; a request may ask for another. It limits nothing: days are those of UTC.
    pub zone: String,
    /// A PostgreSQL database that keeps finished days, such as `postgres://livos:…@localhost/livos`; `LIVOS_ARCHIVE` overrides it. Without it they are kept
    /// in the store.
    pub archive: Option<Secret>,
    /// What providers take, in place of the list prices of `livos_core::usage::Prices` or beside them.
    pub prices: Prices,
}

impl Default for Usage {
    fn default() -> Self {
        Self { zone: "UTC".into(), archive: None, prices: Prices::default() }
    }
}

/// The log, which goes to standard error. `RUST_LOG` says what is logged.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `text` for people (the default), or `json`, one object a line, for programs; `LIVOS_LOG_FORMAT` overrides it.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The watch over resident memory. What is not set is the default of `livos_core::supervise::memory::MemoryConfig`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Past it the server drains and exits with code 75, to be started again: a share such as `"80%"` (the default) of what the control group or the machine
    /// allows, a size such as `"400MB"`, or `"off"`.
    pub soft_limit: SoftLimit,
    /// How often memory is read.
    #[serde(deserialize_with = "optional_duration")]
    pub sample_every: Option<Duration>,
    /// How long the limit must be passed.
    #[serde(deserialize_with = "optional_duration")]
    pub over_for: Option<Duration>,
    /// How often memory is logged.
    #[serde(deserialize_with = "optional_duration")]
    pub line_every: Option<Duration>,
}

/// The most memory that the server may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoftLimit {
    /// So many percent of what there is.
    Share(u64),
    /// So many bytes.
    Bytes(u64),
    /// Any.
    Off,
}

impl Default for SoftLimit {
    fn default() -> Self {
        Self::Share(MemoryConfig::SHARE)
    }
}

impl SoftLimit {
    fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').trim_end();
        let number: u64 = digits.parse().ok().filter(|number| *number > 0)?;
        let bytes = match text[digits.len()..].trim() {
            "%" => return (number <= 100).then_some(Self::Share(number)),
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return None,
        };
        number.checked_mul(bytes).map(Self::Bytes)
    }
}

impl<'de> Deserialize<'de> for SoftLimit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).ok_or_else(|| {
            de::Error::custom("a limit is a share such as \"80%\", a size such as \"400MB\", or \"off\"")
        })
    }
}

/// OpenTelemetry traces, in programs that were built with the feature `otel`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// The collector that speaks OTLP over HTTP: `https://…`, or `http://…` on loopback, such as `http://127.0.0.1:4318`; `OTEL_EXPORTER_OTLP_ENDPOINT`
    /// overrides it. `/v1/traces` is added. Without it nothing is sent. The other variables of the OpenTelemetry specification work too, such as
    /// `OTEL_EXPORTER_OTLP_HEADERS` for a key.
    pub endpoint: Option<String>,
}

/// The embedded file that holds what must outlive the process. With a Redis it holds what waits while that is away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Its path; `LIVOS_STORE` overrides it. Without either it is `livos.redb` in the folder that systemd gives (`StateDirectory=`), else in
    /// `$XDG_STATE_HOME/livos`, else in `~/.local/state/livos`, else in `livos-data` below the working folder. `:memory:` keeps nothing.
    pub path: Option<PathBuf>,
}

impl Store {
    /// The path that keeps nothing.
    pub const MEMORY: &str = ":memory:";

    fn default_path(env: impl Fn(&str) -> Option<String>) -> PathBuf {
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
    /// The file of the keys, readable by its owner only, and made where it is not there. Without it: `livos.keys` among the credentials that systemd gives
    /// (`LoadCredential=`) where there is one, else beside the embedded file. Keep it out of the backups of the data.
    pub key_file: Option<PathBuf>,
    /// The keys themselves, for platforms without files; `LIVOS_KEYS` overrides it. Then no file is read.
    pub keys: Option<Secret>,
}

impl Secrets {
    const FILE: &str = "livos.keys";

    fn default_file(env: impl Fn(&str) -> Option<String>, store: &Path) -> Option<PathBuf> {
        let credential = env("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(Self::FILE));
        let beside = || (store != Path::new(Store::MEMORY)).then(|| store.with_file_name(Self::FILE));
        credential.filter(|file| file.exists()).or_else(beside)
    }
}

/// A Redis server, for several processes that share the work. Two deployments on one server take two of its databases: `…/0` and `…/1`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redis {
    /// `redis://[user][:password@]host[:port][/database]` or `unix:///path`; `REDIS_URL` overrides it. Without it everything is in the embedded file.
    pub url: Option<Secret>,
    /// How long it is left alone once it failed three times in ten seconds; then one PING asks whether it is back.
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

/// Access to a Google account, through an OAuth client of the web kind whose redirect URI is `{public_url}/oauth/google/callback`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    /// The client's id; `GOOGLE_CLIENT_ID` overrides it. Without it there is no access.
    pub client_id: Option<String>,
    /// The client's secret; `GOOGLE_CLIENT_SECRET` overrides it.
    pub client_secret: Option<Secret>,
    /// Whether the consent screen is in testing: a consent lasts seven days then, and its end is told two days ahead.
    pub testing: bool,
    /// `https://…` or `http://…` on loopback, in the place of Google: a twin; `GOOGLE_URL` overrides it.
    pub url: Option<String>,
}

/// The mailbox of the Google account.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gmail {
    /// Whether the owner is told, in the chats that are paired with the owner's rights, of each mail that comes into the inbox.
    pub watch: bool,
    /// The Pub/Sub topic to which Gmail publishes, as `projects/P/topics/T`, in the project of the OAuth client; its subscription pushes to a webhook of the
    /// provider `gmail`. Without it the mailbox is looked at every five minutes.
    pub topic: Option<String>,
    /// `https://…` or `http://…` on loopback, in the place of Gmail: a twin.
    pub url: Option<String>,
}

/// A bot in a chat app.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatApp {
    /// The bot's token; `TELEGRAM_BOT_TOKEN` or `DISCORD_TOKEN` overrides it. Without it there is no bot.
    pub token: Option<Secret>,
    /// `https://…` or `http://…` on loopback, in the place of the provider: a twin, or one's own Bot API server.
    pub url: Option<String>,
    /// Whom the bot answers. `pairing`: nobody whom the operator has not let in.
    pub policy: Admission,
    /// With `allow_list`: the ids of people and groups, as the provider writes them. Names change hands and are no ids.
    pub allow: Vec<String>,
}

/// Whom a bot answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Who is paired.
    #[default]
    Pairing,
    /// Who is paired, and who is listed.
    AllowList,
    /// Anybody.
    Open,
    /// Nobody: what is written is dropped.
    Closed,
}

/// How people in chat apps are paired.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// Whether the operator must also approve who came with a right code. Off: the code was the operator's word.
    pub approval: bool,
}

/// The simulated providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Twins {
    /// How long they take: `zero`, or `seed` for the delays of real providers. `seed`: a demo should feel like the real thing.
    pub profile: String,
    /// The seed of everything random in them.
    pub seed: u64,
    /// How the recogniser hears: `auto`, `sphinx` or `script`.
    pub hearing: String,
    /// How the voice speaks: `auto`, `flite` or `tones`.
    pub voice: String,
}

impl Default for Twins {
    fn default() -> Self {
        Self { profile: "seed".into(), seed: 1, hearing: "auto".into(), voice: "auto".into() }
    }
}

/// Reads the file, then lets the environment override it.
pub fn resolve(path: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let mut config = load(path)?;
    let env = |name: &str| env(name).filter(|value| !value.is_empty());
    if let Some(listen) = env("LIVOS_LISTEN") {
        config.server.listen = parse_listen(&listen)?;
    }
    let secret = |slot: &mut Option<Secret>, name| {
        if let Some(value) = env(name) {
            *slot = Some(Secret::new(value));
        }
    };
    secret(&mut config.server.token, "LIVOS_TOKEN");
    secret(&mut config.deepgram.api_key, "DEEPGRAM_API_KEY");
    secret(&mut config.cartesia.api_key, "CARTESIA_API_KEY");
    secret(&mut config.anthropic.api_key, "ANTHROPIC_API_KEY");
    secret(&mut config.redis.url, "REDIS_URL");
    secret(&mut config.secrets.keys, "LIVOS_KEYS");
    secret(&mut config.usage.archive, "LIVOS_ARCHIVE");
    secret(&mut config.google.client_secret, "GOOGLE_CLIENT_SECRET");
    secret(&mut config.telegram.token, "TELEGRAM_BOT_TOKEN");
    secret(&mut config.discord.token, "DISCORD_TOKEN");
    let text = |slot: &mut Option<String>, name| {
        if let Some(value) = env(name) {
            *slot = Some(value);
        }
    };
    text(&mut config.deepgram.url, "DEEPGRAM_URL");
    text(&mut config.cartesia.url, "CARTESIA_URL");
    text(&mut config.anthropic.url, "ANTHROPIC_BASE_URL");
    // A variable that a platform sets for all its programs is no reason not to start.
    if cfg!(feature = "otel") {
        text(&mut config.telemetry.endpoint, "OTEL_EXPORTER_OTLP_ENDPOINT");
    }
    if let Some(format) = env("LIVOS_LOG_FORMAT") {
        config.log.format = match format.as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => return Err(ConfigError(format!("LIVOS_LOG_FORMAT: {format:?} is neither text nor json"))),
        };
    }
    let path = env("LIVOS_STORE").map(PathBuf::from).or_else(|| config.store.path.take());
    let path = path.unwrap_or_else(|| Store::default_path(env));
    config.secrets.key_file = config.secrets.key_file.take().or_else(|| Secrets::default_file(env, &path));
    config.store.path = Some(path);
    text(&mut config.google.client_id, "GOOGLE_CLIENT_ID");
    text(&mut config.google.url, "GOOGLE_URL");
    config.validate()?;
    Ok(config)
}

/// An address to listen on.
pub fn parse_listen(text: &str) -> Result<SocketAddr, ConfigError> {
    text.parse().map_err(|_| {
        ConfigError(format!("listen: {text:?} is not an address and port, such as 127.0.0.1:8420"))
    })
}

/// The shortest bearer token that is accepted. 16 characters: shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

impl Config {
    fn validate(&self) -> Result<(), ConfigError> {
        if self.server.token.as_ref().is_some_and(|token| token.expose().len() < MIN_TOKEN) {
            return Err(ConfigError(format!(
                "server.token: use at least {MIN_TOKEN} characters (LIVOS_TOKEN)"
            )));
        }
        for (key, url, secure, plain) in [
            ("deepgram.url", &self.deepgram.url, "wss", "ws"),
            ("cartesia.url", &self.cartesia.url, "wss", "ws"),
            ("anthropic.url", &self.anthropic.url, "https", "http"),
            ("telemetry.endpoint", &self.telemetry.endpoint, "https", "http"),
            ("google.url", &self.google.url, "https", "http"),
            ("gmail.url", &self.gmail.url, "https", "http"),
            ("telegram.url", &self.telegram.url, "https", "http"),
            ("discord.url", &self.discord.url, "https", "http"),
        ] {
            if let Some(url) = url {
                provider_url(url, secure, plain).map_err(|why| ConfigError(format!("{key}: {why}")))?;
            }
        }
        Zone::find(&self.usage.zone).map_err(|error| ConfigError(format!("usage.zone: {error}")))?;
        if self.budget.warn_percent > 100 {
            return Err(ConfigError("budget.warn_percent: at most 100".into()));
        }
        if self.google.client_id.is_some() != self.google.client_secret.is_some() {
            return Err(ConfigError("google: set client_id and client_secret, or neither".into()));
        }
        let pushes = self.webhooks.iter().filter(|hook| hook.provider == WebhookProvider::Gmail).count();
        let missing = if self.gmail.watch && self.google.client_id.is_none() {
            Some("watch: needs a client under [google]")
        } else if self.gmail.watch && self.telegram.token.is_none() && self.discord.token.is_none() {
            Some("watch: nobody could be told: set a token under [telegram] or [discord]")
        } else if self.gmail.topic.is_some() && !self.gmail.watch {
            Some("topic: is only read where watch is true")
        } else if self.gmail.topic.is_some() && pushes != 1 {
            Some(
                "topic: needs one of [[webhooks]] with the provider \"gmail\", to which its subscription pushes",
            )
        } else if self.gmail.topic.is_none() && pushes > 0 {
            Some("topic: is missing, and webhooks of the provider \"gmail\" come through one")
        } else {
            None
        };
        if let Some(missing) = missing {
            return Err(ConfigError(format!("gmail.{missing}")));
        }
        for (name, app) in [("telegram", &self.telegram), ("discord", &self.discord)] {
            if !app.allow.is_empty() && app.policy != Admission::AllowList {
                return Err(ConfigError(format!(
                    "{name}.allow: is only read where policy is \"allow_list\""
                )));
            }
        }
        if self.server.max_voice_sessions == 0 || self.server.max_connections == 0 {
            return Err(ConfigError(
                "server: max_voice_sessions and max_connections must be at least 1".into(),
            ));
        }
        if self.telemetry.endpoint.is_some() && !cfg!(feature = "otel") {
            return Err(ConfigError(
                "telemetry.endpoint: this program was built without the feature otel".into(),
            ));
        }
        if self.queue.refuse_at == 0 || self.queue.concurrency == 0 {
            return Err(ConfigError("queue: refuse_at and concurrency must be at least 1".into()));
        }
        Ok(())
    }
}

/// A provider's address: encrypted, or plain on loopback, because a key that travels in the clear is everybody's.
pub fn provider_url(text: &str, secure: &str, plain: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|_| "is not a URL".to_owned())?;
    let host = uri.host().ok_or("has no host")?.trim_matches(['[', ']']);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some(scheme) if scheme == secure => Ok(uri),
        Some(scheme) if scheme == plain && loopback => Ok(uri),
        Some(scheme) if scheme == plain => Err(format!("{plain}:// is for loopback only; use {secure}://")),
        _ => Err(format!("must begin with {secure}:// (or {plain}:// on loopback)")),
    }
}

/// What stands in the file, before anything overrides it.
fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError(format!("{} can't be read: {error}", path.display())))?;
    parse(&text).map_err(|error| ConfigError(format!("{}: {error}", path.display())))
}

fn parse(text: &str) -> Result<Config, String> {
    toml::from_str(text).map_err(|error| {
        let line =
            error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
        format!("line {line}: {}", explain(error.message()))
    })
}

/// Serde names all fields that it knows; a person wants the nearest.
fn explain(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (true, Some(unknown)) = (message.starts_with("unknown field"), quoted.next()) else {
        return message.to_owned();
    };
    let known: Vec<&str> = quoted.collect();
    let nearest = known
        .iter()
        .max_by(|a, b| strsim::jaro_winkler(a, unknown).total_cmp(&strsim::jaro_winkler(b, unknown)));
    match nearest {
        Some(nearest) => format!(
            "unknown key `{unknown}`; the nearest known one is `{nearest}` (known here: {})",
            known.join(", ")
        ),
        None => format!("unknown key `{unknown}`"),
    }
}

/// The configuration can't be used. The text says what and where, and holds no value.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// A duration as people write it: `"250ms"`, `"10s"`, `"5m"`.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    parse_duration(&text).ok_or_else(|| {
        de::Error::custom("a duration is a number and `ms`, `s`, `m` or `h`, such as \"250ms\"")
    })
}

fn optional_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).trim_end();
    let unit = text[digits.len()..].trim();
    let number: u64 = digits.parse().ok()?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.checked_mul(milliseconds).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_the_nearest_known_one_and_without_its_value() {
        let error = parse("[deepgram]\napi_kye = \"sk-secret\"\n").unwrap_err();
        assert!(
            error.starts_with("line 2: unknown key `api_kye`; the nearest known one is `api_key`"),
            "{error}"
        );
        assert!(!error.contains("sk-secret"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_not_shown() {
        let error = parse("[deepgram]\napi_key = 123456\n").unwrap_err();
        assert!(error.starts_with("line 2:"), "{error}");
        let error = parse("[server]\ndrain_timeout = \"soon\"\n").unwrap_err();
        assert!(error.contains("a duration is a number"), "{error}");
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "[server]\nlisten = \"127.0.0.1:1\"\n[deepgram]\nurl = \"wss://a.example\"\n",
        )
        .unwrap();
        let env = |name: &str| match name {
            "LIVOS_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "DEEPGRAM_URL" => Some("ws://127.0.0.1:3".to_owned()),
            _ => None,
        };
        let config = resolve(Some(file.path()), env).unwrap();
        assert_eq!(config.server.listen.port(), 2);
        assert_eq!(config.deepgram.url.as_deref(), Some("ws://127.0.0.1:3"));
        let error = resolve(None, |name| (name == "LIVOS_TOKEN").then(|| "short".to_owned())).unwrap_err();
        assert!(error.to_string().contains("at least 16 characters"));
    }

    #[test]
    fn the_file_is_where_the_environment_says_or_where_a_person_would_look() {
        let table: [(&[(&str, &str)], &str); 6] = [
            (&[("LIVOS_STORE", "/x/y"), ("HOME", "/home/a")], "/x/y"),
            (&[("STATE_DIRECTORY", "/var/lib/livos:/z"), ("HOME", "/home/a")], "/var/lib/livos/livos.redb"),
            (&[("XDG_STATE_HOME", "/s"), ("HOME", "/home/a")], "/s/livos/livos.redb"),
            (&[("HOME", "/home/a")], "/home/a/.local/state/livos/livos.redb"),
            (&[("HOME", "")], "livos-data/livos.redb"),
            (&[("LIVOS_STORE", ":memory:")], Store::MEMORY),
        ];
        for (environment, expected) in table {
            let env = |name: &str| {
                environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            let config = resolve(None, env).unwrap();
            assert_eq!(config.store.path.unwrap(), Path::new(expected), "{environment:?}");
        }
    }

    #[test]
    fn a_plain_address_is_for_loopback_only() {
        let check = |url| provider_url(url, "wss", "ws").map(|_| ());
        for good in ["wss://api.example/v1", "ws://127.0.0.1:1", "ws://localhost:1/x", "ws://[::1]:1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["ws://api.example", "ws://10.0.0.1:1", "http://127.0.0.1", "nonsense", ""] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_empty_file_is_a_demo() {
        assert!(parse("").unwrap().server.listen.ip().is_loopback());
    }

    #[test]
    fn a_collector_is_for_programs_that_can_speak_to_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[telemetry]\nendpoint = \"http://127.0.0.1:4318\"\n").unwrap();
        assert_eq!(resolve(Some(file.path()), |_| None).is_ok(), cfg!(feature = "otel"));
        let platform =
            |name: &str| (name == "OTEL_EXPORTER_OTLP_ENDPOINT").then(|| "http://127.0.0.1:4318".to_owned());
        assert_eq!(resolve(None, platform).unwrap().telemetry.endpoint.is_some(), cfg!(feature = "otel"));
    }

    #[test]
    fn a_limit_is_a_share_a_size_or_none() {
        let table = [
            ("80%", SoftLimit::Share(80)),
            ("400 MB", SoftLimit::Bytes(400_000_000)),
            ("2GiB", SoftLimit::Bytes(2 << 30)),
            ("off", SoftLimit::Off),
        ];
        for (text, expected) in table {
            assert_eq!(SoftLimit::parse(text), Some(expected), "{text}");
        }
        for text in ["", "80", "0%", "101%", "-1MB", "1.5GB", "MB", "99999999999GiB", "on"] {
            assert_eq!(SoftLimit::parse(text), None, "{text}");
        }
        let error = parse("[memory]\nsoft_limit = \"lots\"\n").unwrap_err();
        assert!(error.starts_with("line 2: a limit is a share such as"), "{error}");
        assert_eq!(parse("").unwrap().memory.soft_limit, SoftLimit::Share(80));
    }

    #[test]
    fn durations_are_numbers_with_a_unit() {
        let table =
            [("250ms", Some(250)), ("10 s", Some(10_000)), ("2m", Some(120_000)), ("1h", Some(3_600_000))];
        for (text, expected) in table {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        }
        for text in ["", "10", "s", "-1s", "1.5s", "99999999999999999999s", "10 parsecs"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
