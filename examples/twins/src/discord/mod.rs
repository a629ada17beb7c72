//! A twin of Discord: gateway, REST and the signer of interactions, version 10.
//!
//! | route | what |
//! | --- | --- |
//! | `GET /` or `/gateway/`, `/resume/` with `?v=10&encoding=json` | the gateway as a WebSocket; `resume_gateway_url` is `/resume/` |
//! | `GET /api/v10/gateway`, `/gateway/bot` | its address, and the identifies that are left |
//! | `GET /api/v10/users/@me`, `/applications/@me`, `/oauth2/applications/@me` | the bot and its application |
//! | `POST /api/v10/users/@me/channels` | the direct channel to a user |
//! | `GET /api/v10/channels/{id}`, `GET` and `POST …/messages`, `PATCH` and `DELETE …/messages/{id}`, `POST …/typing` | channels and messages |
//! | `POST /api/v10/interactions/{id}/{token}/callback` | the first response, 204 |
//! | `GET`, `PATCH`, `DELETE /api/v10/webhooks/{app}/{token}/messages/@original`, `POST …/{token}`, `PATCH …/messages/{id}` | the later ones |
//! | `GET`, `PUT /api/v10/applications/{app}/commands` | global commands |
//! | `GET /attachments/{channel}/{message}/{name}` | files, without a token |
//! | `POST /twin/say`, `/twin/command`, `/twin/trick`, `/twin/said`, `/twin/interaction` | what people and the provider do, for programs in another process |
//!
//! - **Gateway**: Hello with [`Config::heartbeat_interval`]; ack for each heartbeat; a client that
//!   is silent for one and a half intervals is closed with
//!   4009. Identify gives `READY` and `GUILD_CREATE`; intents decide what comes, and whether text
//!   is withheld. Resume replays what came after `seq` and ends with `RESUMED`. A session
//!   lives for [`Config::session_life`] after its connection, and not at all after a close
//!   with 1000 or 1001.
//! - **Close codes**: 4001 unknown op, 4002 no JSON or more than 4,096 bytes, 4003 not identified,
//!   4004 wrong token, 4005 identified twice, 4007 a sequence that never was, 4008 more than 120
//!   events in 60 s, 4009, 4012 another version, 4013 unknown intents, 4014 privileged ones.
//! - **Identifies**: a second one within [`Config::identify_spacing`] answers op 9; more than
//!   [`Config::identifies_per_day`] reset the token, which then is wrong everywhere.
//! - **Rate limits**: 5 messages or edits in 5 s for each channel, 10 of anything else a second, 50
//!   in all; all headers, 429 with `retry_after` in fractions. Endpoints of interactions do not
//!   count globally.
//! - **Messages**: up to 2,000 characters (50035), not empty (50006); `nonce` with `enforce_nonce`
//!   answers with the first for 5 minutes; a mention that `allowed_mentions` does not forbid is
//!   counted in [`Stats::pings`].
//! - **Interactions**: the first response within 3 s (10062 later), once (40060); the others within
//!   15 minutes (50027 later). Posts to an endpoint are signed with Ed25519 over timestamp and
//!   body, and [`Discord::probe`] tries it with wrong signatures, as Discord does.
//! - **Faults**: those of [`crate::fault`] (a stall is a zombie); [`Trick`];
//!   [`Discord::forget_sessions`].

mod gateway;
mod interactions;
mod limits;
mod rest;
mod world;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use ed25519_dalek::SigningKey;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

use self::world::{World, number};
pub use self::{
    interactions::{Answered, EndpointFailure},
    world::{InteractionRecord, Stats},
};
use crate::{
    connection::{Connection, Host, lock},
    fault::Refusal,
    latency::Profile,
    random::Random,
    serve::{self, Body, Twin},
};

/// The bot's user.
pub const BOT: u64 = 900_000_000_000_000_001;
/// The bot's application.
pub const APPLICATION: u64 = 900_000_000_000_000_002;
/// The one server.
pub const GUILD: u64 = 900_000_000_000_000_003;
/// Its one text channel.
pub const CHANNEL: u64 = 900_000_000_000_000_004;
/// Somebody.
pub const ANNA: u64 = 900_000_000_000_000_005;
/// Somebody else.
pub const BEN: u64 = 900_000_000_000_000_006;

/// How the twin behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// All randomness comes from it, the signing key too.
    pub seed: u64,
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// The bot's token.
    pub token: String,
    /// The wall clock at the start, in milliseconds since 1970: ids hold it. From then on it goes
    /// with the runtime's clock.
    pub now_ms: u64,
    /// What Hello says.
    pub heartbeat_interval: Duration,
    /// How long a session can be resumed after its connection.
    pub session_life: Duration,
    /// Identifies in 24 hours.
    pub identifies_per_day: u32,
    /// At least between two of them.
    pub identify_spacing: Duration,
    /// Whether the privileged intents are enabled.
    pub privileged: bool,
    /// Whether the gateway is announced as `wss`. A twin on loopback is not.
    pub secure: bool,
}

impl Default for Config {
    fn default() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            seed: 1,
            profile: Profile::Zero,
            token: "bot-token".to_owned(),
            now_ms: u64::try_from(now.as_millis()).unwrap_or(0),
            heartbeat_interval: Duration::from_millis(41_250),
            session_life: Duration::from_secs(180),
            identifies_per_day: 1000,
            identify_spacing: Duration::from_secs(5),
            privileged: false,
            secure: false,
        }
    }
}

/// What the gateway does of its own accord to the sessions that are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// Op 7.
    Reconnect,
    /// Op 9.
    InvalidSession {
        /// Whether a resume would succeed. Where not, the session is forgotten.
        resumable: bool,
    },
    /// Op 1.
    HeartbeatRequest,
    /// Heartbeats are not answered any more.
    NoAcks,
}

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Discord(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    started: Instant,
    key: SigningKey,
    world: Mutex<World>,
}

impl Discord {
    /// A provider that behaves as configured. Its clock starts now.
    pub fn new(config: Config) -> Self {
        let mut seed = [0; 32];
        Random::derive(config.seed, "discord-key", 0).fill(&mut seed);
        let host = Host::new("discord", config.seed, config.profile.latency());
        let world = Mutex::new(World::new(&config.token));
        let key = SigningKey::from_bytes(&seed);
        Self(Arc::new(Inner { host, config, started: Instant::now(), key, world }))
    }

    /// What the twin saw so far.
    pub fn stats(&self) -> Stats {
        let world = lock(&self.0.world);
        Stats {
            open_connections: self.0.host.open_connections(),
            total_connections: self.0.host.total_connections(),
            ..world.stats.clone()
        }
    }

    /// Somebody writes in a channel; answers the message's id. Names of channels and people are
    /// their numbers.
    pub fn say(&self, channel: u64, user: u64, text: &str) -> u64 {
        self.write(channel, user, text, json!({}))
    }

    /// Somebody writes with fields of a message that are not the usual ones: attachments, a type, a
    /// webhook.
    pub fn write(&self, channel: u64, user: u64, text: &str, more: Value) -> u64 {
        let id = self.new_id();
        lock(&self.0.world).write(id, channel, user, text, more)
    }

    /// Stores a file for a message, and returns its path below the twin's address.
    pub fn store_file(&self, channel: u64, name: &str, bytes: Vec<u8>) -> String {
        let path = format!("/attachments/{channel}/{}/{name}", self.new_id());
        lock(&self.0.world).files.insert(path.clone(), bytes.into());
        path
    }

    /// The direct channel of a user, made where there is none.
    pub fn direct_channel(&self, user: u64) -> u64 {
        lock(&self.0.world).direct_channel(user)
    }

    /// Somebody uses a command, which comes over the gateway; answers the interaction's id. Options
    /// are texts by name.
    pub fn command(&self, channel: u64, user: u64, name: &str, options: &[(&str, &str)]) -> u64 {
        let interaction = self.new_command(channel, user, name, options);
        lock(&self.0.world).dispatch_interaction(&interaction)
    }

    /// What became of an interaction.
    pub fn interaction(&self, id: u64) -> Option<InteractionRecord> {
        lock(&self.0.world).interactions.get(&id).cloned()
    }

    /// The texts of the bot's messages in a channel, oldest first.
    pub fn said_by_bot(&self, channel: u64) -> Vec<String> {
        let world = lock(&self.0.world);
        let messages = world.channels.get(&channel).into_iter().flat_map(|channel| &channel.messages);
        messages.filter(|message| number(&message["author"]["id"]) == Some(BOT)).map(text_of).collect()
    }

    /// The bot's global commands.
    pub fn commands(&self) -> Vec<Value> {
        lock(&self.0.world).commands.clone()
    }

    /// Plays a trick on every session that is connected; answers how many are.
    pub fn trick(&self, trick: Trick) -> usize {
        lock(&self.0.world).trick(trick)
    }

    /// Forgets every session: the next resume fails. Connected ones stay until then.
    pub fn forget_sessions(&self) {
        lock(&self.0.world).sessions.clear();
    }

    /// Sessions that are connected now.
    pub fn connected_sessions(&self) -> usize {
        lock(&self.0.world).sessions.values().filter(|session| session.link.is_some()).count()
    }

    /// The application's public key, in hexadecimal digits as the portal shows it.
    pub fn public_key(&self) -> String {
        hex(self.0.key.verifying_key().as_bytes())
    }

    fn now_ms(&self) -> u64 {
        let passed = self.0.started.elapsed();
        self.0.config.now_ms + u64::try_from(passed.as_millis()).unwrap_or(0)
    }

    fn new_id(&self) -> u64 {
        const EPOCH_MS: u64 = 1_420_070_400_000;
        let ms = self.now_ms().saturating_sub(EPOCH_MS);
        lock(&self.0.world).next_id(ms << 22)
    }
}

fn text_of(message: &Value) -> String {
    message["content"].as_str().unwrap_or_default().to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Twin for Discord {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        match request.uri().path() {
            "/" | "/gateway/" | "/resume/" => gateway::accept(self, request, &connection),
            _ => rest::answer(self, request).await,
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let reason = status.canonical_reason().unwrap_or("Error");
        serve::json(status, &json!({ "message": format!("{}: {reason}", refusal.status), "code": 0 }))
    }

    fn order(&self, name: &str, body: &Value) -> Option<Value> {
        order(self, name, body)
    }

    fn figures(&self) -> Value {
        let stats = self.stats();
        json!({
            "open_connections": stats.open_connections, "total_connections": stats.total_connections,
            "identifies": stats.identifies, "resumes": stats.resumes, "replayed": stats.replayed,
            "heartbeats": stats.heartbeats, "token_resets": stats.token_resets, "requests": stats.requests,
            "rate_limited": stats.rate_limited, "invalid_requests": stats.invalid_requests,
            "messages": stats.messages, "repeated_nonces": stats.repeated_nonces, "pings": stats.pings, "typing": stats.typing,
            "command_writes": stats.command_writes, "presences": stats.presences, "close_codes": stats.close_codes,
        })
    }
}

/// What programs in another process can have done: bodies are
/// `{"channel": "…" or "user": "…", "text": "…"}` and the like.
fn order(twin: &Discord, order: &str, body: &Value) -> Option<Value> {
    let number = |field: &str| body[field].as_str().and_then(|text| text.parse::<u64>().ok());
    let user = number("user").unwrap_or(ANNA);
    let channel = number("channel").unwrap_or_else(|| twin.direct_channel(user));
    match order {
        "say" => {
            let id = twin.say(channel, user, body["text"].as_str()?);
            Some(json!({ "id": id.to_string(), "channel": channel.to_string() }))
        }
        "command" => {
            let given = body["options"].as_object().into_iter().flatten();
            let options: Vec<(&str, &str)> =
                given.filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect();
            let id = twin.command(channel, user, body["name"].as_str()?, &options);
            Some(json!({ "id": id.to_string(), "channel": channel.to_string() }))
        }
        "said" => Some(json!({ "texts": twin.said_by_bot(channel) })),
        "interaction" => {
            let record = twin.interaction(number("id")?)?;
            Some(
                json!({ "response": record.response, "original": record.original, "follow_ups": record.follow_ups }),
            )
        }
        "trick" => {
            let trick = match body["trick"].as_str()? {
                "reconnect" => Trick::Reconnect,
                "invalid_session" => Trick::InvalidSession { resumable: body["resumable"] == true },
                "heartbeat_request" => Trick::HeartbeatRequest,
                "no_acks" => Trick::NoAcks,
                _ => return None,
            };
            Some(json!({ "played": twin.trick(trick) }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
