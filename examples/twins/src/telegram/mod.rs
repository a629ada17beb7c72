//! A twin of Telegram's Bot API.
//!
//! | route | what it answers |
//! | --- | --- |
//! | `/bot<token>/<method>` | a method, by GET or POST; parameters in the query, as a form or as JSON. Names of methods are not case-sensitive |
//! | `/file/bot<token>/<path>` | the bytes of a file that `getFile` named |
//! | `POST /twin/say` | `{"chat": 7, "text": "hello"}`: a person says something |
//! | `POST /twin/updates` | `{"message": {…}}`: any update, to which the id is added |
//! | `POST /twin/files` | `{"path": "voice/1.oga", "text": "…"}`: keeps a file, and answers its ids |
//! | `POST /twin/messages` | what the bot wrote, by chat |
//!
//! - **Methods**: `getMe`, `getUpdates`, `setWebhook`, `deleteWebhook`, `getWebhookInfo`,
//!   `sendMessage`, `editMessageText`, `deleteMessage`, `sendChatAction`, `answerCallbackQuery`,
//!   `getFile`, `setMyCommands`, `getMyCommands`, `deleteMyCommands`. No multipart uploads.
//! - **Updates** are confirmed by a higher `offset` and forgotten after 24 hours; a negative one
//!   forgets all but the last; one from the future begins at the head. Ids grow by one, and begin
//!   anywhere after a silent week. A second long poll, and a webhook, end the first with 409;
//!   further conflicts within 3 s wait that long. The same offset within 3 s with a short timeout
//!   waits 3 s, and within 0.5 s gets one update.
//! - **Webhook**: one request for each update, in the order of each chat, `max_connections` at one
//!   time. Anything but 2xx is tried again after `Retry-After` or growing waits up to one or two
//!   minutes, until the update is a day old. A JSON answer with `method` is carried out.
//! - **Limits**: 4096 UTF-16 units of text, 20 MB of a file, 100 commands; a message a second to a
//!   person after a burst of 5 and 20 a minute to a group, beyond which comes 429 with
//!   `retry_after`; `setWebhook` once a second.
//! - **Errors** have the provider's codes and texts: 400, 401, 403 of a bot that was blocked, 404,
//!   409, 429, and `migrate_to_chat_id`.
//! - **Faults**: those of [`crate::fault`]; [`Telegram::lose_answers`] carries a call out and cuts
//!   the connection; [`Telegram::flood`], [`Telegram::block`], [`Telegram::migrate`].

mod chats;
mod commands;
mod failure;
mod params;
#[cfg(test)]
mod tests;
mod updates;
mod webhook;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::{sync::watch, time::Instant};

use self::{
    chats::Chats,
    commands::{DEFAULT_SCOPE, check_commands, scope},
    failure::{Answer, Failure, failure},
    params::Params,
    updates::Updates,
    webhook::Webhook,
};
pub use self::{
    chats::Written,
    webhook::{Courier, CourierFuture},
};
use crate::{
    connection::{Connection, Host, lock},
    fault::Refusal,
    latency::Profile,
    serve::{self, Body, Twin},
};

/// How the twin behaves.
#[derive(Debug, Clone)]
pub struct Config {
    /// All randomness comes from it.
    pub seed: u64,
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// The only token that is let in; any well-formed one where `None`. All are the same bot.
    pub token: Option<String>,
    /// The bot's name, without `@`.
    pub username: String,
    /// Whether too many messages are refused with 429.
    pub floods: bool,
    /// Whether a hot loop of polls is slowed.
    pub slows_polls: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            seed: 1,
            profile: Profile::Zero,
            token: None,
            username: "livos_twin_bot".into(),
            floods: true,
            slows_polls: true,
        }
    }
}

/// The twin. A clone is the same provider.
#[derive(Debug, Clone)]
pub struct Telegram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    host: Host,
    config: Config,
    started: Instant,
    state: Mutex<State>,
    /// Changes when there may be something for a long poll or the webhook.
    changed: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    updates: Updates,
    chats: Chats,
    webhook: Webhook,
    /// By file id: path, bytes.
    files: BTreeMap<String, (String, Bytes)>,
    commands: BTreeMap<String, Value>,
    calls: BTreeMap<String, u64>,
    /// Methods whose next answers are lost.
    lost: BTreeMap<String, u32>,
    answered_callbacks: Vec<String>,
}

/// When the twin's time begins: a number that looks like the present, so that everything can be
/// repeated.
const EPOCH: u64 = 1_800_000_000;
/// The largest request.
const MAX_BODY: usize = 1 << 20;
/// The largest file that can be downloaded.
const MAX_FILE: usize = 20 << 20;

impl Telegram {
    /// A provider that behaves as configured. Must be called inside a tokio runtime where time is
    /// virtual.
    pub fn new(config: Config) -> Self {
        let host = Host::new("telegram", config.seed, config.profile.latency());
        let state = State {
            updates: Updates::new(config.seed),
            chats: Chats::new(config.floods),
            webhook: Webhook::default(),
            files: BTreeMap::new(),
            commands: BTreeMap::new(),
            calls: BTreeMap::new(),
            lost: BTreeMap::new(),
            answered_callbacks: Vec::new(),
        };
        Self(Arc::new(Inner {
            host,
            config,
            started: Instant::now(),
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
        }))
    }

    fn unix_time(&self) -> u64 {
        EPOCH + self.0.started.elapsed().as_secs()
    }

    /// A person says something to the bot in private; answers the id of the update. The chat has
    /// the person's number.
    pub fn say(&self, person: i64, text: &str) -> i64 {
        self.push(json!({ "message": self.message(person, text) }))
    }

    /// The message that [`Telegram::say`] would bring, to be changed before it is
    /// [pushed](Telegram::push).
    pub fn message(&self, person: i64, text: &str) -> Value {
        let id = lock(&self.0.state).chats.person(person).next_id();
        let entities: Vec<Value> = match text.strip_prefix('/') {
            Some(rest) => {
                let length = 1 + rest.split_whitespace().next().unwrap_or_default().encode_utf16().count();
                vec![json!({ "type": "bot_command", "offset": 0, "length": length })]
            }
            None => Vec::new(),
        };
        let mut message = json!({
            "message_id": id,
            "from": { "id": person, "is_bot": false, "first_name": "Ada", "username": format!("person{person}"), "language_code": "en" },
            "chat": { "id": person, "type": "private", "first_name": "Ada", "username": format!("person{person}") },
            "date": self.unix_time(),
            "text": text,
        });
        if !entities.is_empty() {
            message["entities"] = entities.into();
        }
        message
    }

    /// Any update, to which its id is added; answers the id. The chat of its message is known from
    /// then on.
    pub fn push(&self, mut update: Value) -> i64 {
        let mut state = lock(&self.0.state);
        for name in ["message", "edited_message", "channel_post"] {
            let chat = &update[name]["chat"];
            if let Some(id) = chat["id"].as_i64() {
                let group = chat["type"].as_str().is_some_and(|kind| kind != "private");
                state.chats.known(id, group);
            }
        }
        let id = state.updates.push(Instant::now(), &mut update);
        drop(state);
        self.wake();
        id
    }

    /// Keeps a file, and answers its `file_id`, `file_unique_id` and `file_size`, to be put into a
    /// message.
    pub fn add_file(&self, path: &str, bytes: impl Into<Bytes>) -> Value {
        let bytes = bytes.into();
        let mut state = lock(&self.0.state);
        let id = format!("AwACAgIAAxkBAAI{:08}", state.files.len() + 1);
        let described = json!({ "file_id": id, "file_unique_id": format!("AgAD{:04}", state.files.len() + 1), "file_size": bytes.len() });
        state.files.insert(id, (path.to_owned(), bytes));
        described
    }

    /// What the bot wrote into a chat, in order.
    pub fn written(&self, chat: i64) -> Vec<Written> {
        lock(&self.0.state).chats.written(chat)
    }

    /// When the bot was seen typing in a chat.
    pub fn typed(&self, chat: i64) -> Vec<Instant> {
        lock(&self.0.state).chats.typed(chat)
    }

    /// Callback queries that were answered, by id.
    pub fn answered_callbacks(&self) -> Vec<String> {
        lock(&self.0.state).answered_callbacks.clone()
    }

    /// The commands of the default scope.
    pub fn commands(&self) -> Value {
        lock(&self.0.state).commands.get(DEFAULT_SCOPE).cloned().unwrap_or_else(|| json!([]))
    }

    /// How often a method was called, by its name in lower case.
    pub fn calls(&self, method: &str) -> u64 {
        lock(&self.0.state).calls.get(method).copied().unwrap_or(0)
    }

    /// Updates that wait for being confirmed or delivered.
    pub fn pending(&self) -> usize {
        lock(&self.0.state).updates.pending(Instant::now())
    }

    /// Refuses everything in a chat with 429 for so long.
    pub fn flood(&self, chat: i64, wait: Duration) {
        lock(&self.0.state).chats.known(chat, false).flooded_until = Some(Instant::now() + wait);
    }

    /// The person blocks the bot.
    pub fn block(&self, chat: i64) {
        lock(&self.0.state).chats.known(chat, false).blocked = true;
    }

    /// The group becomes a supergroup with another number.
    pub fn migrate(&self, chat: i64, to: i64) {
        let mut state = lock(&self.0.state);
        state.chats.known(chat, true).migrated_to = Some(to);
        state.chats.known(to, true);
    }

    /// Carries the next `count` calls of a method out and cuts the connection before the answer:
    /// the caller can't know.
    pub fn lose_answers(&self, method: &str, count: u32) {
        lock(&self.0.state).lost.insert(method.to_lowercase(), count);
    }

    /// Delivers to the webhook through this, and not over TCP.
    pub fn deliver_by(&self, courier: Courier) {
        lock(&self.0.state).webhook.courier = Some(courier);
    }

    fn wake(&self) {
        self.0.changed.send_modify(|changed| *changed = changed.wrapping_add(1));
    }

    /// The number in front of a well-formed token, if it is let in.
    fn admits(&self, token: &str) -> Option<i64> {
        let (id, rest) = token.split_once(':')?;
        let formed =
            rest.len() >= 10 && rest.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        let known = self.0.config.token.as_deref().is_none_or(|known| known == token);
        if formed && known { id.parse().ok() } else { None }
    }

    async fn call(&self, bot: i64, method: &str, params: &Params) -> Answer {
        *lock(&self.0.state).calls.entry(method.to_owned()).or_default() += 1;
        match method {
            "getme" => Ok(self.me(bot)),
            "getupdates" => self.get_updates(params).await,
            "setwebhook" => self.set_webhook(params.text("url").unwrap_or_default(), params),
            "deletewebhook" => self.set_webhook("", params),
            "getwebhookinfo" => Ok(self.webhook_info()),
            _ => self.write(bot, method, params),
        }
    }

    /// What has to do with chats, files and commands.
    fn write(&self, bot: i64, method: &str, params: &Params) -> Answer {
        let now = Instant::now();
        let date = self.unix_time();
        let mut state = lock(&self.0.state);
        match method {
            "sendmessage" => state.chats.send(now, date, &self.me(bot), params),
            "editmessagetext" => state.chats.edit(now, date, params),
            "deletemessage" => state.chats.delete(now, params),
            "sendchataction" => state.chats.act(now, params),
            "answercallbackquery" => {
                let id = params.text("callback_query_id").ok_or_else(|| {
                    Failure::bad("query is too old and response timeout expired or query ID is invalid")
                })?;
                state.answered_callbacks.push(id.to_owned());
                Ok(json!(true))
            }
            "getfile" => {
                let id = params.text("file_id").ok_or_else(|| Failure::bad("file_id not specified"))?;
                let wrong = || Failure::bad("wrong file_id or the file is temporarily unavailable");
                let (path, bytes) = state.files.get(id).ok_or_else(wrong)?;
                if bytes.len() > MAX_FILE {
                    return Err(Failure::bad("file is too big"));
                }
                Ok(
                    json!({ "file_id": id, "file_unique_id": format!("u{id}"), "file_size": bytes.len(), "file_path": path }),
                )
            }
            "setmycommands" => {
                let commands = params.json("commands").unwrap_or_default();
                check_commands(&commands)?;
                state.commands.insert(scope(params), commands);
                Ok(json!(true))
            }
            "getmycommands" => Ok(state.commands.get(&scope(params)).cloned().unwrap_or_else(|| json!([]))),
            "deletemycommands" => {
                state.commands.remove(&scope(params));
                Ok(json!(true))
            }
            _ => Err(Failure::new(404, "Not Found: method not found")),
        }
    }

    fn me(&self, bot: i64) -> Value {
        json!({
            "id": bot, "is_bot": true, "first_name": "Twin", "username": self.0.config.username, "can_join_groups": true,
            "can_read_all_group_messages": false, "supports_inline_queries": false, "can_connect_to_business": false, "has_main_web_app": false,
        })
    }

    fn file(&self, path: &str) -> Response<Body> {
        let state = lock(&self.0.state);
        match state.files.values().find(|(known, _)| known == path) {
            Some((_, bytes)) => {
                let mut response = Response::new(serve::full(bytes.clone()));
                let kind = header::HeaderValue::from_static("application/octet-stream");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            None => failure(&Failure::new(404, "Not Found")),
        }
    }

    /// Whether the answer to this call is to be lost.
    fn loses(&self, method: &str) -> bool {
        let mut state = lock(&self.0.state);
        let Some(left) = state.lost.get_mut(method).filter(|left| **left > 0) else { return false };
        *left -= 1;
        true
    }
}

impl Twin for Telegram {
    fn host(&self) -> &Host {
        &self.0.host
    }

    async fn handle(&self, request: Request<Incoming>, connection: Arc<Connection>) -> Response<Body> {
        // Clients escape the colon of the token, or do not.
        let path = params::decode(&request.uri().path().replace('+', "%2B"));
        let unauthorized = || failure(&Failure::new(401, "Unauthorized: invalid token specified"));
        if let Some((token, path)) = path.strip_prefix("/file/bot").and_then(|rest| rest.split_once('/')) {
            return if self.admits(token).is_some() { self.file(path) } else { unauthorized() };
        }
        let Some((token, method)) = path.strip_prefix("/bot").and_then(|rest| rest.split_once('/')) else {
            return failure(&Failure::new(404, "Not Found"));
        };
        let Some(bot) = self.admits(token) else { return unauthorized() };
        let method = method.to_lowercase();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let Ok(body) = Limited::new(request.into_body(), MAX_BODY).collect().await else {
            return failure(&Failure::new(413, "Request Entity Too Large"));
        };
        let answer = match Params::parse(&query, &kind, &body.to_bytes()) {
            Ok(params) => self.call(bot, &method, &params).await,
            Err(failure) => Err(failure),
        };
        if self.loses(&method) {
            connection.cut();
            std::future::pending::<()>().await;
        }
        match answer {
            Ok(result) => serve::json(StatusCode::OK, &json!({ "ok": true, "result": result })),
            Err(refused) => failure(&refused),
        }
    }

    fn refusal(&self, refusal: &Refusal) -> Response<Body> {
        failure(&match refusal.status {
            400 => Failure::bad("chat not found"),
            401 => Failure::new(401, "Unauthorized"),
            403 => Failure::new(403, "Forbidden: bot was blocked by the user"),
            404 => Failure::new(404, "Not Found"),
            409 => Failure::new(409, updates::OTHER_POLL),
            429 => {
                let asked = refusal.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("retry-after"));
                let seconds = asked.and_then(|(_, value)| value.parse().ok()).unwrap_or(1);
                Failure::flood(Duration::from_secs(seconds))
            }
            502 => Failure::new(502, "Bad Gateway"),
            code => Failure::new(code, "Internal Server Error"),
        })
    }

    fn figures(&self) -> Value {
        let mut state = lock(&self.0.state);
        json!({
            "open_connections": self.0.host.open_connections(), "total_connections": self.0.host.total_connections(),
            "pending_updates": state.updates.pending(Instant::now()), "calls": state.calls, "floods": state.chats.floods(),
            "deliveries": state.webhook.deliveries,
        })
    }

    fn order(&self, order: &str, body: &Value) -> Option<Value> {
        match order {
            "say" => Some(json!({ "update_id": self.say(body["chat"].as_i64()?, body["text"].as_str()?) })),
            "updates" if body.is_object() => Some(json!({ "update_id": self.push(body.clone()) })),
            "files" => Some(self.add_file(body["path"].as_str()?, body["text"].as_str()?.to_owned())),
            "messages" => Some(lock(&self.0.state).chats.report()),
            _ => None,
        }
    }
}
