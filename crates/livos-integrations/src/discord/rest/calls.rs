//! What is asked of Discord, each with its route.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    client::{Call, Rest},
    error::RestError,
    limits::Route,
};
use crate::discord::{
    Id,
    event::{InteractionToken, WireMessage},
};

/// A message to be sent. Mentions in it notify nobody: a model wrote it, or somebody made a model
/// write it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outgoing {
    /// The text, at most [`Outgoing::MAX_TEXT`] characters.
    pub text: String,
    /// The message that it replies to, if that still exists.
    pub reply_to: Option<Id>,
    /// What makes a repetition the same message, at most 25 characters: Discord answers with the
    /// first for some minutes, and sends no second.
    pub nonce: Option<String>,
    /// Whether only the user of the interaction sees it. Elsewhere it is ignored.
    pub ephemeral: bool,
}

impl Outgoing {
    /// The most characters of one message. Discord counts Unicode scalar values.
    pub const MAX_TEXT: usize = 2000;
    const EPHEMERAL: u32 = 64;

    /// A plain message.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    pub(in crate::discord) fn to_json(&self) -> Value {
        let mut body = json!({ "content": self.text, "allowed_mentions": { "parse": [] } });
        if let Some(reply_to) = self.reply_to {
            // The question may be deleted before the answer comes.
            body["message_reference"] = json!({ "message_id": reply_to, "fail_if_not_exists": false });
        }
        if let Some(nonce) = &self.nonce {
            body["nonce"] = json!(nonce);
            body["enforce_nonce"] = json!(true);
        }
        if self.ephemeral {
            body["flags"] = json!(Self::EPHEMERAL);
        }
        body
    }
}

/// How the gateway is reached, and how many sessions may still be begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayInfo {
    /// Its address.
    pub url: String,
    /// Sessions that may be begun until the reset.
    pub remaining: u32,
    /// When it is.
    pub reset_after: Duration,
}

#[derive(Deserialize)]
struct WireGateway {
    url: String,
    session_start_limit: WireStartLimit,
}

#[derive(Deserialize)]
struct WireStartLimit {
    remaining: u32,
    /// Milliseconds.
    reset_after: u64,
}

#[derive(Deserialize)]
struct Created {
    id: Id,
}

/// The limits of a call that can be repeated.
fn call(method: Method, name: &'static str, major: impl ToString, path: String) -> Call {
    let repeatable = method != Method::POST;
    let route = Route { name, major: major.to_string(), path, bot: true };
    Call { route, method, body: None, repeatable }
}

impl Call {
    fn json(self, body: &Value) -> Self {
        Self { body: Some(Bytes::from(body.to_string())), ..self }
    }

    fn repeatable(self, repeatable: bool) -> Self {
        Self { repeatable, ..self }
    }

    /// The token of the interaction stands in the path, and is all that is asked for.
    fn without_token(self) -> Self {
        Self { route: Route { bot: false, ..self.route }, ..self }
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, RestError> {
    serde_json::from_slice(body).map_err(|error| RestError::Malformed(error.into()))
}

impl Rest {
    /// Where the gateway is, and how many sessions may be begun: `GET /gateway/bot`.
    pub async fn gateway(&self) -> Result<GatewayInfo, RestError> {
        let body = self.call(call(Method::GET, "GET /gateway/bot", "", "/gateway/bot".into())).await?;
        let wire: WireGateway = read(&body)?;
        let limit = wire.session_start_limit;
        Ok(GatewayInfo {
            url: wire.url,
            remaining: limit.remaining,
            reset_after: Duration::from_millis(limit.reset_after),
        })
    }

    /// The bot's application: `GET /applications/@me`.
    pub async fn application(&self) -> Result<Id, RestError> {
        let asked = call(Method::GET, "GET /applications/@me", "", "/applications/@me".into());
        read::<Created>(&self.call(asked).await?).map(|created| created.id)
    }

    /// Sends a message; answers its id. Tried again after a failure only with a nonce, which makes
    /// it safe.
    pub async fn send_message(&self, channel: Id, message: &Outgoing) -> Result<Id, RestError> {
        let path = format!("/channels/{channel}/messages");
        let asked = call(Method::POST, "POST /channels/messages", channel, path)
            .json(&message.to_json())
            .repeatable(message.nonce.is_some());
        read::<Created>(&self.call(asked).await?).map(|created| created.id)
    }

    /// Replaces the text of one of the bot's messages: a stream of an answer, for instance. Five
    /// edits in five seconds are Discord's usual limit.
    pub async fn edit_message(&self, channel: Id, message: Id, text: &str) -> Result<(), RestError> {
        let path = format!("/channels/{channel}/messages/{message}");
        let asked = call(Method::PATCH, "PATCH /channels/messages", channel, path);
        self.call(asked.json(&Outgoing::text(text).to_json())).await.map(drop)
    }

    /// Shows for ten seconds, or until the next message, that the bot types.
    pub async fn show_typing(&self, channel: Id) -> Result<(), RestError> {
        let asked =
            call(Method::POST, "POST /channels/typing", channel, format!("/channels/{channel}/typing"));
        self.call(asked.repeatable(true)).await.map(drop)
    }

    /// Up to a hundred messages after one, oldest first.
    pub(in crate::discord) async fn messages_after(
        &self,
        channel: Id,
        message: Id,
    ) -> Result<Vec<WireMessage>, RestError> {
        let path = format!("/channels/{channel}/messages?after={message}&limit={}", Self::PAGE);
        let body = self.call(call(Method::GET, "GET /channels/messages", channel, path)).await?;
        let mut messages: Vec<WireMessage> = read(&body)?;
        messages.sort_unstable_by_key(|message| message.id);
        Ok(messages)
    }

    /// Messages of one page.
    pub(in crate::discord) const PAGE: usize = 100;

    /// The direct channel to a user, made where there is none: answers reach people who never wrote
    /// in a channel.
    pub async fn direct_channel(&self, user: Id) -> Result<Id, RestError> {
        let asked = call(Method::POST, "POST /users/@me/channels", "", "/users/@me/channels".into());
        let asked = asked.json(&json!({ "recipient_id": user })).repeatable(true);
        read::<Created>(&self.call(asked).await?).map(|created| created.id)
    }

    /// The first response to an interaction that came over the gateway; within three seconds of it.
    pub(in crate::discord) async fn respond(
        &self,
        interaction: Id,
        token: &InteractionToken,
        response: &Value,
    ) -> Result<(), RestError> {
        let path = format!("/interactions/{interaction}/{}/callback", token.expose());
        let asked = call(Method::POST, "POST /interactions/callback", interaction, path).json(response);
        self.call(asked.without_token()).await.map(drop)
    }

    /// Puts a message in the place of the first response to an interaction, the deferral for
    /// instance, within fifteen minutes; answers its id.
    pub async fn edit_response(
        &self,
        application: Id,
        token: &InteractionToken,
        message: &Outgoing,
    ) -> Result<Id, RestError> {
        self.edit_webhook(application, token, "@original", message).await
    }

    /// A further message of an interaction, within fifteen minutes; answers its id. It has no
    /// nonce, so it is not tried again after a failure.
    pub async fn follow_up(
        &self,
        application: Id,
        token: &InteractionToken,
        message: &Outgoing,
    ) -> Result<Id, RestError> {
        let path = format!("/webhooks/{application}/{}", token.expose());
        let asked = call(Method::POST, "POST /webhooks", token.expose(), path);
        let body = self.call(asked.json(&message.to_json()).without_token()).await?;
        read::<Created>(&body).map(|created| created.id)
    }

    /// Replaces the text of a message of an interaction, within fifteen minutes.
    pub async fn edit_follow_up(
        &self,
        application: Id,
        token: &InteractionToken,
        message: Id,
        text: &str,
    ) -> Result<(), RestError> {
        self.edit_webhook(application, token, message, &Outgoing::text(text)).await.map(drop)
    }

    async fn edit_webhook(
        &self,
        application: Id,
        token: &InteractionToken,
        message: impl std::fmt::Display,
        outgoing: &Outgoing,
    ) -> Result<Id, RestError> {
        let path = format!("/webhooks/{application}/{}/messages/{message}", token.expose());
        let asked = call(Method::PATCH, "PATCH /webhooks/messages", token.expose(), path);
        let body = self.call(asked.json(&outgoing.to_json()).without_token()).await?;
        read::<Created>(&body).map(|created| created.id)
    }

    /// Takes one of the bot's messages back.
    pub async fn delete_message(&self, channel: Id, message: Id) -> Result<(), RestError> {
        let path = format!("/channels/{channel}/messages/{message}");
        self.call(call(Method::DELETE, "DELETE /channels/messages", channel, path)).await.map(drop)
    }

    /// The bot's global commands, as Discord holds them.
    pub(in crate::discord) async fn commands(&self, application: Id) -> Result<Vec<Value>, RestError> {
        let path = format!("/applications/{application}/commands");
        read(&self.call(call(Method::GET, "GET /applications/commands", application, path)).await?)
    }

    /// Replaces all of the bot's global commands.
    pub(in crate::discord) async fn put_commands(
        &self,
        application: Id,
        commands: &Value,
    ) -> Result<(), RestError> {
        let path = format!("/applications/{application}/commands");
        let asked = call(Method::PUT, "PUT /applications/commands", application, path);
        self.call(asked.json(commands)).await.map(drop)
    }
}
