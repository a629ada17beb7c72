//! One connection to the gateway.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    APPLICATION, BOT, Discord, GUILD, Trick,
    world::{Link, Order, Session},
};
use crate::{
    connection::{Connection, lock},
    serve::{self, Body, Gone, Received, Socket},
};

const MAX_PAYLOAD: usize = 4096;
const EVENTS: usize = 120;
const EVENTS_WINDOW: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// The intents that there are, and those of them that need a switch in the portal.
const KNOWN_INTENTS: u64 = 0x0331_ffff;
const PRIVILEGED: u64 = (1 << 1) | (1 << 8) | (1 << 15);

pub(super) fn accept(
    twin: &Discord,
    mut request: Request<Incoming>,
    connection: &Arc<Connection>,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let has = |pair: &str| query.split('&').any(|found| found == pair);
    let right_version = has("v=10") && has("encoding=json");
    let host = request.headers().get("host").and_then(|host| host.to_str().ok()).unwrap_or("discord.test");
    let scheme = if twin.0.config.secure { "wss" } else { "ws" };
    let resume_url = format!("{scheme}://{host}/resume/");
    let twin = twin.clone();
    serve::upgrade(&mut request, connection, move |mut socket| async move {
        if !right_version {
            return socket.close(4012, "Invalid API version.").await;
        }
        Conversation::new(socket, twin, resume_url).run().await;
    })
}

/// Why a connection ends.
enum End {
    /// The client closed or vanished.
    Gone,
    /// With this code.
    Close(u16, &'static str),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

struct Conversation {
    socket: Socket,
    twin: Discord,
    resume_url: String,
    orders: mpsc::UnboundedReceiver<Order>,
    sender: mpsc::UnboundedSender<Order>,
    session: Option<String>,
    received: VecDeque<Instant>,
    /// The client has to send a heartbeat by then.
    silent_at: Instant,
    acks: bool,
}

impl Conversation {
    fn new(socket: Socket, twin: Discord, resume_url: String) -> Self {
        let (sender, orders) = mpsc::unbounded_channel();
        let silent_at = Instant::now() + twin.0.config.heartbeat_interval.mul_f64(1.5);
        Self {
            socket,
            twin,
            resume_url,
            orders,
            sender,
            session: None,
            received: VecDeque::new(),
            silent_at,
            acks: true,
        }
    }

    async fn run(mut self) {
        let guard = Leaving { twin: self.twin.clone(), connection: self.socket.connection().id() };
        let end = self.converse().await;
        match end {
            End::Close(code, reason) => self.socket.close(code, reason).await,
            End::Gone => {
                let mut world = lock(&self.twin.0.world);
                if let Some(code) = self.socket.closed_with() {
                    world.stats.close_codes.push(code);
                    if let (1000 | 1001, Some(session)) = (code, &self.session) {
                        world.sessions.remove(session);
                    }
                }
            }
        }
        drop(guard);
    }

    async fn converse(&mut self) -> End {
        let interval = u64::try_from(self.twin.0.config.heartbeat_interval.as_millis()).unwrap_or(41_250);
        let hello = json!({ "op": 10, "d": { "heartbeat_interval": interval }, "s": null, "t": null });
        if self.socket.send(hello.to_string()).await.is_err() {
            return End::Gone;
        }
        loop {
            let done = tokio::select! {
                biased;
                Some(order) = self.orders.recv() => self.obey(order).await,
                received = self.socket.recv() => match received {
                    Received::Closed => Err(End::Gone),
                    Received::Binary(_) => Err(End::Close(4002, "Error while decoding payload.")),
                    Received::Text(text) => self.receive(&text).await,
                },
                () = sleep_until(self.silent_at) => Err(End::Close(4009, "Session timed out.")),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), End> {
        match order {
            Order::Send(text) => Ok(self.socket.send(text).await?),
            Order::Leave => Err(End::Close(4000, "Another connection has the session.")),
            Order::Trick(Trick::NoAcks) => {
                self.acks = false;
                Ok(())
            }
            Order::Trick(Trick::Reconnect) => self.send(7, &Value::Null).await,
            Order::Trick(Trick::HeartbeatRequest) => self.send(1, &Value::Null).await,
            Order::Trick(Trick::InvalidSession { resumable }) => self.send(9, &resumable.into()).await,
        }
    }

    async fn send(&mut self, op: u8, data: &Value) -> Result<(), End> {
        Ok(self.socket.send(json!({ "op": op, "d": data, "s": null, "t": null }).to_string()).await?)
    }

    async fn receive(&mut self, text: &str) -> Result<(), End> {
        let now = Instant::now();
        while self.received.front().is_some_and(|at| *at + EVENTS_WINDOW <= now) {
            self.received.pop_front();
        }
        self.received.push_back(now);
        if self.received.len() > EVENTS {
            return Err(End::Close(4008, "You are being rate limited."));
        }
        let payload: Option<Value> = Some(text)
            .filter(|text| text.len() <= MAX_PAYLOAD)
            .and_then(|text| serde_json::from_str(text).ok());
        let Some(payload) = payload else { return Err(End::Close(4002, "Error while decoding payload.")) };
        let data = &payload["d"];
        match (payload["op"].as_u64(), &self.session) {
            (Some(1), _) => {
                lock(&self.twin.0.world).stats.heartbeats += 1;
                self.silent_at = now + self.twin.0.config.heartbeat_interval.mul_f64(1.5);
                if self.acks { self.send(11, &Value::Null).await } else { Ok(()) }
            }
            (Some(2), None) => self.identify(data).await,
            (Some(6), None) => self.resume(data).await,
            (Some(2 | 6), Some(_)) => Err(End::Close(4005, "Already authenticated.")),
            (Some(3 | 4 | 8 | 31 | 43), None) => Err(End::Close(4003, "Not authenticated.")),
            (Some(3), Some(_)) => {
                lock(&self.twin.0.world).stats.presences += 1;
                Ok(())
            }
            (Some(4 | 8 | 31 | 43), Some(_)) => Ok(()),
            _ => Err(End::Close(4001, "Unknown opcode.")),
        }
    }

    async fn identify(&mut self, data: &Value) -> Result<(), End> {
        self.check_token(data)?;
        let intents = data["intents"].as_u64().filter(|intents| intents & !KNOWN_INTENTS == 0);
        let Some(intents) = intents else { return Err(End::Close(4013, "Invalid intent(s).")) };
        if intents & PRIVILEGED != 0 && !self.twin.0.config.privileged {
            return Err(End::Close(4014, "Disallowed intent(s)."));
        }
        if !data["properties"].is_object() {
            return Err(End::Close(4002, "Error while decoding payload."));
        }
        let allowed = self.count_identify()?;
        if !allowed {
            return self.send(9, &false.into()).await;
        }
        self.begin(intents);
        Ok(())
    }

    fn check_token(&self, data: &Value) -> Result<(), End> {
        let token = data["token"].as_str().unwrap_or_default();
        // Libraries send it with and without the word that HTTP wants.
        let token = token.strip_prefix("Bot ").unwrap_or(token);
        let right = lock(&self.twin.0.world).token == token;
        if right { Ok(()) } else { Err(End::Close(4004, "Authentication failed.")) }
    }

    /// False where it came too soon after another.
    fn count_identify(&self) -> Result<bool, End> {
        let now = Instant::now();
        let mut world = lock(&self.twin.0.world);
        while world.identified.front().is_some_and(|at| *at + DAY <= now) {
            world.identified.pop_front();
        }
        let last = world.identified.back().copied();
        world.identified.push_back(now);
        if world.identified.len() > self.twin.0.config.identifies_per_day as usize {
            // Discord would mail a new one to the owner.
            world.token = format!("reset-{}", world.stats.token_resets);
            world.stats.token_resets += 1;
            return Err(End::Close(4004, "Authentication failed."));
        }
        Ok(last.is_none_or(|last| last + self.twin.0.config.identify_spacing <= now))
    }

    fn begin(&mut self, intents: u64) {
        let mut world = lock(&self.twin.0.world);
        world.stats.identifies += 1;
        world.sessions_begun += 1;
        let id = format!("session-{}", world.sessions_begun);
        let link = Some(Link { connection: self.socket.connection().id(), orders: self.sender.clone() });
        let mut session = Session { intents, sequence: 0, events: VecDeque::new(), link, lost: None };
        session.dispatch("READY", &json!({
            "v": 10, "user": world.user(BOT), "guilds": [{ "id": GUILD.to_string(), "unavailable": true }], "session_id": id,
            "resume_gateway_url": self.resume_url, "session_type": "normal", "private_channels": [], "relationships": [],
            "application": { "id": APPLICATION.to_string(), "flags": 0 }, "_trace": [],
        }));
        if intents & 1 != 0 {
            session.dispatch("GUILD_CREATE", &world.guild());
        }
        world.sessions.insert(id.clone(), session);
        self.session = Some(id);
    }

    async fn resume(&mut self, data: &Value) -> Result<(), End> {
        self.check_token(data)?;
        let id = data["session_id"].as_str().unwrap_or_default().to_owned();
        let sequence = data["seq"].as_u64().unwrap_or(0);
        match self.take_up(&id, sequence)? {
            true => {
                self.session = Some(id);
                Ok(())
            }
            false => self.send(9, &false.into()).await,
        }
    }

    /// Takes a session up again and queues what it missed; false where there is none.
    fn take_up(&self, id: &str, sequence: u64) -> Result<bool, End> {
        let now = Instant::now();
        let mut world = lock(&self.twin.0.world);
        let life = self.twin.0.config.session_life;
        world.sessions.retain(|_, session| session.lost.is_none_or(|lost| lost + life > now));
        let Some(session) = world.sessions.get_mut(id) else { return Ok(false) };
        if sequence > session.sequence {
            return Err(End::Close(4007, "Invalid seq."));
        }
        let first = session.events.front().map_or(1, |(first, _)| *first);
        if sequence + 1 < first {
            return Ok(false);
        }
        if let Some(other) = session.link.take() {
            let _ = other.orders.send(Order::Leave);
        }
        let missed = session.events.iter().filter(|(number, _)| *number > sequence);
        let mut replayed = 0;
        for (_, text) in missed {
            replayed += 1;
            let _ = self.sender.send(Order::Send(text.clone()));
        }
        session.link = Some(Link { connection: self.socket.connection().id(), orders: self.sender.clone() });
        session.lost = None;
        session.dispatch("RESUMED", &json!({ "_trace": [] }));
        world.stats.resumes += 1;
        world.stats.replayed += replayed;
        Ok(true)
    }
}

/// Takes the connection out of its session when it ends, however it ends.
struct Leaving {
    twin: Discord,
    connection: u64,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut world = lock(&self.twin.0.world);
        let ours =
            |session: &Session| session.link.as_ref().is_some_and(|link| link.connection == self.connection);
        for session in world.sessions.values_mut().filter(|session| ours(session)) {
            session.link = None;
            session.lost = Some(Instant::now());
        }
    }
}
