//! The configuration of a deployment: one TOML file, overridden by the environment, overridden by
//! the command line.
//!
//! A misspelt key is an error that names the key and the nearest known one, because a setting that
//! is silently ignored is found months later. Errors name the line and never show it: the line may
//! hold a key.

mod channels;
mod operation;
mod providers;
mod spending;
mod storage;
mod values;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::Uri;
use livos_core::{secret::Secret, usage::Zone};
use serde::Deserialize;

pub use self::{
    channels::{Admission, ChatApp, Gmail, Google, Pairing, Webhook, WebhookProvider},
    operation::{Log, LogFormat, Memory, Server, SoftLimit, Telemetry},
    providers::{Anthropic, Cartesia, Deepgram, DeepgramApi, Twins, Voice},
    spending::{Budget, Usage},
    storage::{Queue, Redis, Secrets, Store},
};

/// The whole configuration. Every field has a default: an empty file is valid, and gives a demo
/// with simulated providers.
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
/// The longest sentence before a late answer, in bytes. 100: some five seconds, and the answer
/// waits for its end.
const MAX_OPENER: usize = 100;

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
        let unfit = |text: &String| text.trim().is_empty() || text.len() > MAX_OPENER;
        if self.voice.openers.iter().any(unfit) {
            return Err(ConfigError(format!(
                "voice.openers: each must have 1 to {MAX_OPENER} bytes of text"
            )));
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

/// A provider's address: encrypted, or plain on loopback, because a key that travels in the clear
/// is everybody's.
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
    fn what_is_said_while_an_answer_is_late_is_short() {
        let openers = |list: &str| parse(&format!("[voice]\nopeners = {list}\n")).unwrap().validate();
        assert!(openers("[]").is_ok() && openers("[\"Moment.\"]").is_ok());
        for unfit in ["[\" \"]".to_owned(), format!("[\"Hm.\", \"{}\"]", "x".repeat(101))] {
            let error = openers(&unfit).unwrap_err().to_string();
            assert_eq!(error, "voice.openers: each must have 1 to 100 bytes of text");
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
}
