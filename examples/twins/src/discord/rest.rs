//! The routes over HTTP.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    APPLICATION, BOT, Discord,
    interactions::{FIRST, LIFE},
    limits::Bucket,
    world::{World, number},
};
use crate::{
    connection::lock,
    serve::{self, Body},
};

/// The largest body. Discord takes 25 MiB.
const MAX_BODY: usize = 25 << 20;
/// The most characters of a message.
const MAX_TEXT: usize = 2000;
/// How long a nonce is remembered.
const NONCE: Duration = Duration::from_secs(300);

const MESSAGES: Bucket =
    Bucket { name: "b-messages", limit: 5, window: Duration::from_secs(5), global: true };
const EDITS: Bucket = Bucket { name: "b-edits", ..MESSAGES };
const OTHERS: Bucket = Bucket { name: "b-others", limit: 10, window: Duration::from_secs(1), global: true };
const WEBHOOKS: Bucket =
    Bucket { name: "b-webhooks", limit: 5, window: Duration::from_secs(2), global: false };

/// An answer: its status and body.
type Answer = (StatusCode, Value);

pub(super) async fn answer(twin: &Discord, request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    if parts.method == Method::GET && path.starts_with("/attachments/") {
        return file(twin, &path);
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refuse(twin, StatusCode::PAYLOAD_TOO_LARGE, 40005, "Request entity too large"),
    };
    let Some(route) = path.strip_prefix("/api/v10/") else {
        return refuse(twin, StatusCode::NOT_FOUND, 0, "404: Not Found");
    };
    let text = |name: header::HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let words: Vec<&str> = route.split('/').collect();
    let call = Call {
        method: &parts.method,
        words: &words,
        query: parts.uri.query().unwrap_or_default(),
        host: text(header::HOST),
    };
    let token = text(header::AUTHORIZATION).strip_prefix("Bot ").unwrap_or_default().to_owned();
    let open = matches!(words[..], ["webhooks", ..] | ["interactions", ..]);
    if !open && !text(header::USER_AGENT).starts_with("DiscordBot (") {
        return refuse(twin, StatusCode::FORBIDDEN, 40333, "internal network error");
    }
    if !open && token != lock(&twin.0.world).token {
        return refuse(twin, StatusCode::UNAUTHORIZED, 0, "401: Unauthorized");
    }
    let limited = {
        let (bucket, major) = call.bucket();
        let mut world = lock(&twin.0.world);
        world.stats.requests += 1;
        world.limits.take(Instant::now(), bucket, &major)
    };
    if let Some((wait, global)) = limited.refused {
        let wait = wait.as_secs_f64();
        let body = json!({ "message": "You are being rate limited.", "retry_after": wait, "global": global });
        let mut response = note(twin, StatusCode::TOO_MANY_REQUESTS, &body);
        response.headers_mut().extend(limited.headers);
        let whole = wait.ceil().max(1.0) as u64;
        response.headers_mut().insert(header::RETRY_AFTER, whole.into());
        lock(&twin.0.world).stats.rate_limited += 1;
        return response;
    }
    let body = if body.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&body) };
    let (status, said) = match body {
        Ok(body) => call.answer(twin, &body),
        Err(_) => error(StatusCode::BAD_REQUEST, 50109, "The request body contains invalid JSON."),
    };
    let mut response = note(twin, status, &said);
    response.headers_mut().extend(limited.headers);
    response
}

/// Counts what counts towards a ban.
fn note(twin: &Discord, status: StatusCode, body: &Value) -> Response<Body> {
    if matches!(status.as_u16(), 401 | 403 | 429) {
        lock(&twin.0.world).stats.invalid_requests += 1;
    }
    if status == StatusCode::NO_CONTENT {
        let mut response = Response::new(serve::full(Bytes::new()));
        *response.status_mut() = status;
        return response;
    }
    serve::json(status, body)
}

fn refuse(twin: &Discord, status: StatusCode, code: u32, message: &str) -> Response<Body> {
    let (status, body) = error(status, code, message);
    note(twin, status, &body)
}

fn error(status: StatusCode, code: u32, message: &str) -> Answer {
    (status, json!({ "message": message, "code": code }))
}

fn file(twin: &Discord, path: &str) -> Response<Body> {
    match lock(&twin.0.world).files.get(path) {
        Some(bytes) => Response::new(serve::full(bytes.clone())),
        None => {
            let mut response = Response::new(serve::full("no file"));
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

const NO_CONTENT: Answer = (StatusCode::NO_CONTENT, Value::Null);

struct Call<'a> {
    method: &'a Method,
    words: &'a [&'a str],
    query: &'a str,
    host: &'a str,
}

impl Call<'_> {
    fn bucket(&self) -> (Bucket, String) {
        match (self.method, self.words) {
            (&Method::POST, ["channels", channel, "messages"]) => (MESSAGES, (*channel).to_owned()),
            (&Method::PATCH | &Method::DELETE, ["channels", channel, "messages", _]) => {
                (EDITS, (*channel).to_owned())
            }
            (_, ["webhooks" | "interactions", _, token, ..]) => (WEBHOOKS, (*token).to_owned()),
            (_, [top, major, ..]) => (OTHERS, format!("{top}/{major}")),
            _ => (OTHERS, String::new()),
        }
    }

    fn answer(&self, twin: &Discord, body: &Value) -> Answer {
        let mut world = lock(&twin.0.world);
        match (self.method.as_str(), self.words) {
            ("GET", ["users", "@me"]) => (StatusCode::OK, world.user(BOT)),
            ("GET", ["applications", "@me"] | ["oauth2", "applications", "@me"]) => {
                (StatusCode::OK, world.application())
            }
            ("GET", ["gateway"]) => (StatusCode::OK, json!({ "url": self.gateway(twin) })),
            ("GET", ["gateway", "bot"]) => {
                let total = twin.0.config.identifies_per_day;
                let used = u32::try_from(world.identified.len()).unwrap_or(total);
                (
                    StatusCode::OK,
                    json!({ "url": self.gateway(twin), "shards": 1, "session_start_limit": {
                        "total": total, "remaining": total.saturating_sub(used), "reset_after": 14_400_000, "max_concurrency": 1,
                    }}),
                )
            }
            ("POST", ["users", "@me", "channels"]) => {
                let Some(user) = number(&body["recipient_id"]) else { return invalid_form("recipient_id") };
                let channel = world.direct_channel(user);
                (StatusCode::OK, world.channel(channel).unwrap_or_default())
            }
            (_, ["channels", channel, rest @ ..]) => {
                let known = channel.parse().ok().filter(|id| world.channels.contains_key(id));
                let Some(channel) = known else {
                    return error(StatusCode::NOT_FOUND, 10003, "Unknown Channel");
                };
                drop(world);
                self.channel(twin, channel, rest, body)
            }
            ("POST", ["interactions", id, token, "callback"]) => {
                let answer = respond(&mut world, id, token, body);
                let wanted = self
                    .query
                    .split('&')
                    .any(|pair| matches!(pair, "with_response=true" | "with_response=1"));
                if wanted && answer.0 == StatusCode::NO_CONTENT { with_response(id, body) } else { answer }
            }
            (_, ["webhooks", _, token, rest @ ..]) => self.webhook(&mut world, token, rest, body),
            ("GET", ["applications", id, "commands"]) if *id == APPLICATION.to_string() => {
                (StatusCode::OK, Value::Array(world.commands.clone()))
            }
            ("PUT", ["applications", id, "commands"]) if *id == APPLICATION.to_string() => {
                let Some(commands) = body.as_array() else { return invalid_form("commands") };
                world.stats.command_writes += 1;
                world.commands = commands.iter().enumerate().map(registered).collect();
                (StatusCode::OK, Value::Array(world.commands.clone()))
            }
            _ => error(StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }

    fn gateway(&self, twin: &Discord) -> String {
        let scheme = if twin.0.config.secure { "wss" } else { "ws" };
        format!("{scheme}://{}/gateway/", self.host)
    }

    fn channel(&self, twin: &Discord, channel: u64, rest: &[&str], body: &Value) -> Answer {
        match (self.method.as_str(), rest) {
            ("GET", []) => (StatusCode::OK, lock(&twin.0.world).channel(channel).unwrap_or_default()),
            ("POST", ["typing"]) => {
                lock(&twin.0.world).stats.typing += 1;
                NO_CONTENT
            }
            ("GET", ["messages"]) => (StatusCode::OK, self.messages(&lock(&twin.0.world), channel)),
            ("POST", ["messages"]) => send(twin, channel, body),
            ("PATCH", ["messages", id]) => edit(&mut lock(&twin.0.world), channel, id, body),
            ("DELETE", ["messages", id]) => {
                let mut world = lock(&twin.0.world);
                let messages = world.channels.get_mut(&channel).map(|channel| &mut channel.messages);
                let before = messages.as_ref().map_or(0, |messages| messages.len());
                let after = messages.map_or(0, |messages| {
                    messages.retain(|message| message["id"] != **id);
                    messages.len()
                });
                if after < before {
                    NO_CONTENT
                } else {
                    error(StatusCode::NOT_FOUND, 10008, "Unknown Message")
                }
            }
            _ => error(StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }

    /// Newest first, as Discord does, and no server named.
    fn messages(&self, world: &World, channel: u64) -> Value {
        let parameter = |name: &str| {
            let found = self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            found.and_then(|value| value.parse::<u64>().ok())
        };
        let limit = parameter("limit").unwrap_or(50).clamp(1, 100) as usize;
        let messages = world.channels.get(&channel).into_iter().flat_map(|channel| &channel.messages);
        let mut page: Vec<&Value> = match parameter("after") {
            Some(after) => {
                messages.filter(|message| number(&message["id"]) > Some(after)).take(limit).collect()
            }
            None => messages.rev().take(limit).collect(),
        };
        page.sort_unstable_by_key(|message| std::cmp::Reverse(number(&message["id"])));
        page.into_iter().cloned().collect()
    }

    fn webhook(&self, world: &mut World, token: &str, rest: &[&str], body: &Value) -> Answer {
        let found = world.interactions.values_mut().find(|record| record.token == token);
        let Some(record) = found else {
            return error(StatusCode::NOT_FOUND, 10015, "Unknown Webhook");
        };
        if record.made.elapsed() > LIFE {
            return error(StatusCode::UNAUTHORIZED, 50027, "Invalid Webhook Token");
        }
        if record.response.is_none() {
            return error(StatusCode::NOT_FOUND, 10015, "Unknown Webhook");
        }
        let channel = record.channel;
        match (self.method.as_str(), rest) {
            ("GET", ["messages", "@original"]) => {
                let (id, text) = (record.original_id, record.original.clone().unwrap_or_default());
                (StatusCode::OK, world.message(id, channel, BOT, &text))
            }
            ("DELETE", ["messages", "@original"]) => {
                record.original = None;
                NO_CONTENT
            }
            ("PATCH", ["messages", _]) | ("POST", []) => {
                if let Err(refused) = check_text(body) {
                    return refused;
                }
                let text = body["content"].as_str().unwrap_or_default().to_owned();
                let id = match rest {
                    [_, name] => {
                        let Some((id, message)) = record.message_mut(name) else {
                            return error(StatusCode::NOT_FOUND, 10008, "Unknown Message");
                        };
                        message.clone_from(&text);
                        id
                    }
                    _ => {
                        let id = record.original_id + 1 + record.follow_ups.len() as u64;
                        record.follow_ups.push(text.clone());
                        record.follow_up_ids.push(id);
                        id
                    }
                };
                world.stats.pings += u64::from(pings(body));
                (StatusCode::OK, world.message(id, channel, BOT, &text))
            }
            _ => error(StatusCode::NOT_FOUND, 0, "404: Not Found"),
        }
    }
}

fn invalid_form(field: &str) -> Answer {
    error(StatusCode::BAD_REQUEST, 50035, &format!("Invalid Form Body: {field}"))
}

fn check_text(body: &Value) -> Result<(), Answer> {
    match body["content"].as_str().unwrap_or_default().chars().count() {
        0 => Err(error(StatusCode::BAD_REQUEST, 50006, "Cannot send an empty message")),
        1..=MAX_TEXT => Ok(()),
        _ => Err(invalid_form("content: Must be 2000 or fewer in length.")),
    }
}

/// Whether somebody would be notified: a mention that is not forbidden.
fn pings(body: &Value) -> bool {
    let text = body["content"].as_str().unwrap_or_default();
    let mentions = text.contains("@everyone") || text.contains("@here") || text.contains("<@");
    let forbidden = body["allowed_mentions"]["parse"].as_array().is_some_and(Vec::is_empty);
    mentions && !forbidden
}

fn send(twin: &Discord, channel: u64, body: &Value) -> Answer {
    if let Err(refused) = check_text(body) {
        return refused;
    }
    let nonce = body["nonce"].as_str().map(str::to_owned);
    if nonce.as_ref().is_some_and(|nonce| nonce.len() > 25) {
        return invalid_form("nonce: Must be 25 or fewer in length.");
    }
    let enforced = nonce.filter(|_| body["enforce_nonce"] == true);
    let now = Instant::now();
    let id = twin.new_id();
    let mut world = lock(&twin.0.world);
    world.nonces.retain(|_, (_, until)| *until > now);
    let known = enforced.as_ref().and_then(|nonce| world.nonces.get(&(channel, nonce.clone())));
    if let Some((id, _)) = known.copied() {
        world.stats.repeated_nonces += 1;
        let messages = world.channels.get(&channel).into_iter().flat_map(|channel| &channel.messages);
        let first = messages.into_iter().find(|message| number(&message["id"]) == Some(id));
        return (StatusCode::OK, first.cloned().unwrap_or_default());
    }
    if let Some(nonce) = enforced {
        world.nonces.insert((channel, nonce), (id, now + NONCE));
    }
    world.stats.messages += 1;
    world.stats.pings += u64::from(pings(body));
    let text = body["content"].as_str().unwrap_or_default();
    let more = json!({ "nonce": body["nonce"], "message_reference": body["message_reference"] });
    world.write(id, channel, BOT, text, more);
    let sent = world.channels.get(&channel).and_then(|channel| channel.messages.back().cloned());
    (StatusCode::OK, sent.unwrap_or_default())
}

/// Messages of interactions are messages of the channel too.
fn edit(world: &mut World, channel: u64, id: &str, body: &Value) -> Answer {
    if let Err(refused) = check_text(body) {
        return refused;
    }
    world.stats.pings += u64::from(pings(body));
    let text = body["content"].as_str().unwrap_or_default();
    let of_interaction = world.interactions.values_mut().filter(|record| record.channel == channel);
    if let Some((number, message)) = of_interaction.into_iter().find_map(|record| {
        let known = record.original.is_some() || id != record.original_id.to_string();
        record.message_mut(id).filter(|_| known)
    }) {
        text.clone_into(message);
        return (StatusCode::OK, world.message(number, channel, BOT, text));
    }
    let messages = world.channels.get_mut(&channel).map(|channel| &mut channel.messages);
    let found = messages.and_then(|messages| messages.iter_mut().find(|message| message["id"] == *id));
    let Some(message) = found else {
        return error(StatusCode::NOT_FOUND, 10008, "Unknown Message");
    };
    if number(&message["author"]["id"]) != Some(BOT) {
        return error(StatusCode::FORBIDDEN, 50005, "Cannot edit a message authored by another user");
    }
    message["content"] = body["content"].clone();
    (StatusCode::OK, message.clone())
}

fn respond(world: &mut World, id: &str, token: &str, body: &Value) -> Answer {
    let record = id.parse().ok().and_then(|id: u64| world.interactions.get_mut(&id));
    let Some(record) = record.filter(|record| record.token == token) else {
        return error(StatusCode::NOT_FOUND, 10062, "Unknown interaction");
    };
    if record.response.is_some() {
        return error(StatusCode::BAD_REQUEST, 40060, "Interaction has already been acknowledged.");
    }
    if record.made.elapsed() > FIRST {
        return error(StatusCode::NOT_FOUND, 10062, "Unknown interaction");
    }
    record.respond(body);
    NO_CONTENT
}

/// What a client is answered that asks for it.
fn with_response(id: &str, body: &Value) -> Answer {
    let deferred = body["type"] == 5;
    let interaction = json!({
        "id": id, "type": 2, "response_message_id": "1", "response_message_loading": deferred, "response_message_ephemeral": false,
    });
    (StatusCode::OK, json!({ "interaction": interaction, "resource": { "type": body["type"] } }))
}

/// A command as Discord holds it: with an id, a version and its defaults.
fn registered((index, command): (usize, &Value)) -> Value {
    let mut command = command.clone();
    command["id"] = (APPLICATION + 100 + index as u64).to_string().into();
    command["application_id"] = APPLICATION.to_string().into();
    command["version"] = "1".into();
    command["default_member_permissions"] = Value::Null;
    command["nsfw"] = false.into();
    if command["type"].is_null() {
        command["type"] = 1.into();
    }
    command
}
