//! The methods that an agent needs, typed.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Bot, Message, TelegramError, User};

/// How much longer than the server an answer to a poll is waited for.
const POLL_SLACK: Duration = Duration::from_secs(15);

/// A text on its way into a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MessageText {
    /// The chat.
    pub chat_id: i64,
    /// The topic of a forum.
    #[serde(rename = "message_thread_id", skip_serializing_if = "Option::is_none")]
    pub thread: Option<i64>,
    /// 1 to 4096 UTF-16 units.
    pub text: String,
    /// What stands in the text, so that nothing has to be escaped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entities: Vec<Span>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_parameters: Option<ReplyTo>,
    link_preview_options: LinkPreview,
}

/// A part of a text that is shown otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// `bold`, `code`, `pre` and others.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Where it begins, in UTF-16 units.
    pub offset: usize,
    /// How long it is, in UTF-16 units.
    pub length: usize,
    /// Of a `pre`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ReplyTo {
    message_id: i64,
    /// The message may have been deleted meanwhile.
    allow_sending_without_reply: bool,
}

/// Answers of a model name many pages, and a preview of the first is seldom meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct LinkPreview {
    is_disabled: bool,
}

impl MessageText {
    /// A text into a chat.
    pub fn new(chat: i64, text: impl Into<String>) -> Self {
        Self {
            chat_id: chat,
            thread: None,
            text: text.into(),
            entities: Vec::new(),
            reply_parameters: None,
            link_preview_options: LinkPreview { is_disabled: true },
        }
    }

    /// As an answer to a message.
    #[must_use]
    pub fn in_reply_to(mut self, message: Option<i64>) -> Self {
        self.reply_parameters =
            message.map(|message_id| ReplyTo { message_id, allow_sending_without_reply: true });
        self
    }
}

/// A message that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct SentMessage {
    /// Its number in the chat.
    pub message_id: i64,
}

/// How a webhook stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[non_exhaustive]
pub struct WebhookInfo {
    /// Its address; empty where none is set.
    #[serde(default)]
    pub url: String,
    /// Updates that wait.
    #[serde(default)]
    pub pending_update_count: u64,
    /// When the last delivery failed, in seconds since 1970.
    #[serde(default)]
    pub last_error_date: Option<i64>,
    /// Why.
    #[serde(default)]
    pub last_error_message: Option<String>,
}

impl Bot {
    /// Who we are.
    pub async fn me(&self) -> Result<User, TelegramError> {
        self.call("getMe", &json!({})).await
    }

    /// Updates from `offset` on, each as it came; everything below it is forgotten by the server.
    /// `wait` is up to 50 s.
    pub async fn updates(
        &self,
        offset: i64,
        limit: u8,
        wait: Duration,
        allowed: &[String],
    ) -> Result<Vec<Bytes>, TelegramError> {
        let parameters = json!({ "offset": offset, "limit": limit, "timeout": wait.as_secs(), "allowed_updates": allowed });
        let raw: Vec<Box<RawValue>> = self.call_within("getUpdates", &parameters, wait + POLL_SLACK).await?;
        Ok(raw.into_iter().map(|update| Bytes::from(Box::<str>::from(update).into_string())).collect())
    }

    /// Sends a text. It is not idempotent: after an error that
    /// [may have happened](TelegramError::may_have_happened) the message may be there.
    pub async fn send_message(&self, message: &MessageText) -> Result<SentMessage, TelegramError> {
        self.call("sendMessage", message).await
    }

    /// Changes a text of ours. One that stands there already is a success, whatever the server
    /// says.
    pub async fn edit_message(&self, number: i64, message: &MessageText) -> Result<(), TelegramError> {
        let mut parameters =
            json!({ "chat_id": message.chat_id, "message_id": number, "text": message.text });
        parameters["link_preview_options"] = json!(message.link_preview_options);
        if !message.entities.is_empty() {
            parameters["entities"] = json!(message.entities);
        }
        match self.call::<Message>("editMessageText", &parameters).await {
            Err(error) if error.description().contains("message is not modified") => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Takes a message of ours back.
    pub async fn delete_message(&self, chat: i64, number: i64) -> Result<(), TelegramError> {
        self.call::<bool>("deleteMessage", &json!({ "chat_id": chat, "message_id": number }))
            .await
            .map(|_| ())
    }

    /// Shows that we are at work, for 5 s or until our next message.
    pub async fn typing(&self, chat: i64, thread: Option<i64>) -> Result<(), TelegramError> {
        let mut parameters = json!({ "chat_id": chat, "action": "typing" });
        if let Some(thread) = thread {
            parameters["message_thread_id"] = json!(thread);
        }
        self.call::<bool>("sendChatAction", &parameters).await.map(|_| ())
    }

    /// Answers a button, which turns until then. `text` is shown for a moment, up to 200
    /// characters; none for nothing.
    pub async fn answer_callback(&self, id: &str, text: Option<&str>) -> Result<(), TelegramError> {
        let text: Option<String> = text.map(|text| text.chars().take(200).collect());
        let parameters = json!({ "callback_query_id": id, "text": text });
        self.call::<bool>("answerCallbackQuery", &parameters).await.map(|_| ())
    }

    /// How the webhook stands: to be asked now and then, since a webhook that fails tells nobody
    /// else.
    pub async fn webhook_info(&self) -> Result<WebhookInfo, TelegramError> {
        self.call("getWebhookInfo", &json!({})).await
    }

    /// Deletes the webhook, even if another program set it. Pending updates stay and can be polled.
    pub async fn delete_webhook(&self) -> Result<(), TelegramError> {
        self.call::<bool>("deleteWebhook", &json!({ "drop_pending_updates": false })).await.map(|_| ())
    }
}
