//! What Discord knows: people, channels, messages, sessions and interactions.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::Instant};

use super::{ANNA, APPLICATION, BEN, BOT, CHANNEL, GUILD, Trick, limits::Limits};

/// What the twin saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections open now, of every kind.
    pub open_connections: usize,
    /// Connections since the start.
    pub total_connections: u64,
    /// Identifies that were let in.
    pub identifies: u64,
    /// Resumes that succeeded.
    pub resumes: u64,
    /// Events that they replayed.
    pub replayed: u64,
    /// Heartbeats.
    pub heartbeats: u64,
    /// How often the token was reset because of too many identifies.
    pub token_resets: u64,
    /// Requests over HTTP.
    pub requests: u64,
    /// Requests that were answered 429.
    pub rate_limited: u64,
    /// Requests that count towards a ban: 401, 403 and 429.
    pub invalid_requests: u64,
    /// Messages of the bot.
    pub messages: u64,
    /// Messages that were not sent a second time, thanks to their nonce.
    pub repeated_nonces: u64,
    /// Messages of the bot whose mentions would have notified somebody.
    pub pings: u64,
    /// Typing that was shown.
    pub typing: u64,
    /// Times that commands were written.
    pub command_writes: u64,
    /// Presences that were shown.
    pub presences: u64,
    /// The codes with which clients closed the gateway, in order.
    pub close_codes: Vec<u16>,
}

/// What became of an interaction.
#[derive(Debug, Clone, PartialEq)]
pub struct InteractionRecord {
    /// The right to answer it.
    pub token: String,
    /// Where it was made.
    pub channel: u64,
    /// When it was made.
    pub made: Instant,
    /// The first response, as it was sent.
    pub response: Option<Value>,
    /// The message that stands in its place now.
    pub original: Option<String>,
    /// Its id.
    pub original_id: u64,
    /// Further messages.
    pub follow_ups: Vec<String>,
    /// Their ids.
    pub follow_up_ids: Vec<u64>,
}

/// Events of a session that can be replayed.
const REPLAYED: usize = 10_000;
/// Messages that a channel keeps.
const KEPT: usize = 20_000;

#[derive(Debug)]
pub(super) struct World {
    pub(super) token: String,
    last_id: u64,
    pub(super) people: BTreeMap<u64, &'static str>,
    pub(super) channels: BTreeMap<u64, Channel>,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) sessions_begun: u64,
    pub(super) identified: VecDeque<Instant>,
    pub(super) interactions: BTreeMap<u64, InteractionRecord>,
    pub(super) commands: Vec<Value>,
    pub(super) files: BTreeMap<String, Bytes>,
    pub(super) nonces: BTreeMap<(u64, String), (u64, Instant)>,
    pub(super) limits: Limits,
    pub(super) stats: Stats,
}

#[derive(Debug, Default)]
pub(super) struct Channel {
    /// The server; none for a direct channel.
    pub(super) guild: Option<u64>,
    /// The other side of a direct channel.
    pub(super) user: Option<u64>,
    pub(super) messages: VecDeque<Value>,
}

/// Something for a connection.
#[derive(Debug)]
pub(super) enum Order {
    Send(String),
    Trick(Trick),
    /// Another connection has the session now.
    Leave,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) intents: u64,
    pub(super) sequence: u64,
    pub(super) events: VecDeque<(u64, String)>,
    pub(super) link: Option<Link>,
    /// When its connection was lost.
    pub(super) lost: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) connection: u64,
    /// Unbounded: it is the network of a test, and a fault may hold the connection up.
    pub(super) orders: mpsc::UnboundedSender<Order>,
}

impl Session {
    /// Numbers an event, keeps it for a resume, and sends it where somebody is connected.
    pub(super) fn dispatch(&mut self, name: &str, data: &Value) {
        self.sequence += 1;
        let text = json!({ "op": 0, "t": name, "s": self.sequence, "d": data }).to_string();
        if let Some(link) = &self.link {
            let _ = link.orders.send(Order::Send(text.clone()));
        }
        self.events.push_back((self.sequence, text));
        if self.events.len() > REPLAYED {
            self.events.pop_front();
        }
    }

    fn has(&self, bit: u32) -> bool {
        self.intents & (1 << bit) != 0
    }
}

impl World {
    pub(super) fn new(token: &str) -> Self {
        let channel = Channel { guild: Some(GUILD), ..Channel::default() };
        Self {
            token: token.to_owned(),
            last_id: 0,
            people: [(ANNA, "anna"), (BEN, "ben"), (BOT, "livos")].into(),
            channels: [(CHANNEL, channel)].into(),
            sessions: BTreeMap::new(),
            sessions_begun: 0,
            identified: VecDeque::new(),
            interactions: BTreeMap::new(),
            commands: Vec::new(),
            files: BTreeMap::new(),
            nonces: BTreeMap::new(),
            limits: Limits::default(),
            stats: Stats::default(),
        }
    }

    /// Ids grow, whatever the clock does.
    pub(super) fn next_id(&mut self, at: u64) -> u64 {
        self.last_id = at.max(self.last_id + 1);
        self.last_id
    }

    pub(super) fn user(&self, id: u64) -> Value {
        let name = self.people.get(&id).copied().unwrap_or("somebody");
        json!({
            "id": id.to_string(), "username": name, "global_name": null, "discriminator": "0", "avatar": null,
            "bot": id == BOT, "public_flags": 0, "flags": 0,
        })
    }

    pub(super) fn channel(&self, id: u64) -> Option<Value> {
        let channel = self.channels.get(&id)?;
        let last = channel.messages.back().map(|message| message["id"].clone());
        Some(match channel.guild {
            Some(guild) => json!({
                "id": id.to_string(), "type": 0, "guild_id": guild.to_string(), "name": "general", "position": 0,
                "permission_overwrites": [], "nsfw": false, "parent_id": null, "topic": null, "last_message_id": last,
                "rate_limit_per_user": 0, "flags": 0,
            }),
            None => json!({
                "id": id.to_string(), "type": 1, "last_message_id": last, "flags": 0,
                "recipients": [self.user(channel.user.unwrap_or(ANNA))],
            }),
        })
    }

    pub(super) fn direct_channel(&mut self, user: u64) -> u64 {
        let found = self.channels.iter().find(|(_, channel)| channel.user == Some(user)).map(|(id, _)| *id);
        // A number of its own, the same in every run.
        let id = found.unwrap_or(user + 1000);
        self.channels.entry(id).or_insert_with(|| Channel { user: Some(user), ..Channel::default() });
        id
    }

    /// Stores a message and tells every session whose intents ask for it.
    pub(super) fn write(&mut self, id: u64, channel: u64, user: u64, text: &str, more: Value) -> u64 {
        let mut message = self.message(id, channel, user, text);
        // What is not there is not there: a client that finds a field with nothing in it breaks.
        for (field, value) in more.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
            message[field] = value.clone();
        }
        let place = self.channels.entry(channel).or_default();
        let guild = place.guild;
        place.messages.push_back(message.clone());
        if place.messages.len() > KEPT {
            place.messages.pop_front();
        }
        if let Some(guild) = guild {
            message["guild_id"] = guild.to_string().into();
            message["member"] = json!({ "roles": [], "joined_at": "2026-01-01T00:00:00.000000+00:00", "deaf": false, "mute": false, "flags": 0 });
        }
        message["channel_type"] = if guild.is_some() { 0.into() } else { 1.into() };
        let addressed = guild.is_none() || user == BOT || mentions_bot(&message);
        for session in self.sessions.values_mut() {
            if !session.has(if guild.is_some() { 9 } else { 12 }) {
                continue;
            }
            let mut shown = message.clone();
            if !addressed && !session.has(15) {
                shown["content"] = "".into();
                shown["attachments"] = json!([]);
            }
            session.dispatch("MESSAGE_CREATE", &shown);
        }
        id
    }

    /// A message with the usual fields.
    pub(super) fn message(&self, id: u64, channel: u64, user: u64, text: &str) -> Value {
        let mentions: Vec<Value> =
            self.people.keys().filter(|id| mentions(text, **id)).map(|id| self.user(*id)).collect();
        json!({
            "id": id.to_string(), "channel_id": channel.to_string(), "author": self.user(user), "content": text, "type": 0,
            "timestamp": "2026-11-24T07:00:00.000000+00:00", "edited_timestamp": null, "tts": false, "pinned": false, "flags": 0,
            "mention_everyone": false, "mentions": mentions, "mention_roles": [], "attachments": [], "embeds": [], "components": [],
        })
    }

    pub(super) fn dispatch_interaction(&mut self, interaction: &Value) -> u64 {
        // No intent is needed, and one session is enough.
        for session in self.sessions.values_mut() {
            session.dispatch("INTERACTION_CREATE", interaction);
        }
        interaction["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0)
    }

    pub(super) fn trick(&mut self, trick: Trick) -> usize {
        let mut played = 0;
        let link = |session: &Session| session.link.as_ref().map(|link| link.orders.clone());
        for orders in self.sessions.values().filter_map(link) {
            played += usize::from(orders.send(Order::Trick(trick)).is_ok());
        }
        if trick == (Trick::InvalidSession { resumable: false }) {
            self.sessions.retain(|_, session| session.link.is_none());
        }
        played
    }

    pub(super) fn application(&self) -> Value {
        json!({
            "id": APPLICATION.to_string(), "name": "livos", "icon": null, "description": "", "bot_public": true,
            "bot_require_code_grant": false, "verify_key": "", "flags": 0, "team": null, "owner": self.user(ANNA), "bot": self.user(BOT),
            "rpc_origins": [], "install_params": null, "tags": [], "redirect_uris": [], "interactions_endpoint_url": null,
            "role_connections_verification_url": null, "hook": false, "summary": "",
        })
    }

    pub(super) fn guild(&self) -> Value {
        let member = |id: u64| json!({ "user": self.user(id), "roles": [], "joined_at": "2026-01-01T00:00:00.000000+00:00", "deaf": false, "mute": false, "flags": 0 });
        let everyone = json!({
            "id": GUILD.to_string(), "name": "@everyone", "color": 0, "colors": { "primary_color": 0, "secondary_color": null, "tertiary_color": null },
            "hoist": false, "position": 0, "permissions": "2248473465835073", "managed": false, "mentionable": false, "flags": 0,
        });
        json!({
            "id": GUILD.to_string(), "name": "the house", "icon": null, "splash": null, "owner_id": ANNA.to_string(), "afk_timeout": 300,
            "afk_channel_id": null, "verification_level": 0, "default_message_notifications": 1, "explicit_content_filter": 0,
            "roles": [everyone], "emojis": [], "stickers": [], "features": [], "mfa_level": 0, "system_channel_id": null, "system_channel_flags": 0,
            "rules_channel_id": null, "vanity_url_code": null, "description": null, "banner": null, "premium_tier": 0, "preferred_locale": "en-US",
            "public_updates_channel_id": null, "nsfw_level": 0, "premium_progress_bar_enabled": false, "safety_alerts_channel_id": null,
            "joined_at": "2026-01-01T00:00:00.000000+00:00", "large": false, "unavailable": false, "member_count": 3,
            "members": [member(BOT), member(ANNA), member(BEN)], "channels": [self.channel(CHANNEL)], "threads": [], "presences": [],
            "voice_states": [], "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": [],
        })
    }
}

fn mentions(text: &str, user: u64) -> bool {
    text.contains(&format!("<@{user}>")) || text.contains(&format!("<@!{user}>"))
}

fn mentions_bot(message: &Value) -> bool {
    message["mentions"].as_array().into_iter().flatten().any(|user| number(&user["id"]) == Some(BOT))
}

/// An id on the wire.
pub(super) fn number(value: &Value) -> Option<u64> {
    value.as_str().and_then(|text| text.parse().ok())
}
