//! A chat as a place for answers, at the pace that Telegram allows.

use std::time::Duration;

use async_trait::async_trait;

use super::{Bot, ErrorKind, MessageText, TelegramError, markup, pace};
use crate::sender::{Limit, Outlet, SendError, SendFailure, Unit};

/// How long a message may be: 4096 UTF-16 units.
pub const MESSAGE: Limit = Limit::new(4096, Unit::Utf16);
/// Typing is shown for 5 s.
const TYPING: Duration = Duration::from_millis(4500);

/// A chat, or a topic of it, that answers are written into.
///
/// Sending is not idempotent at Telegram: where no answer came the message may be there, and it is
/// not sent again. Edits can be repeated.
#[derive(Debug, Clone)]
pub struct TelegramOutlet {
    bot: Bot,
    chat: i64,
    group: bool,
    thread: Option<i64>,
    reply_to: Option<i64>,
}

impl TelegramOutlet {
    /// A chat. In groups, where `group` is true, the pace is slower.
    pub fn new(bot: Bot, chat: i64, group: bool) -> Self {
        Self { bot, chat, group, thread: None, reply_to: None }
    }

    /// Where something was said: the same chat and topic; in a group, where several talk at once,
    /// in answer to the message.
    pub fn answering(bot: Bot, incoming: &super::IncomingMessage) -> Self {
        let reply_to = (incoming.group && incoming.message > 0).then_some(incoming.message);
        let (chat, group, thread) = (incoming.chat, incoming.group, incoming.thread);
        Self { bot, chat, group, thread, reply_to }
    }

    fn text(&self, markdown: &str) -> MessageText {
        let (text, entities) = match markup::render(markdown) {
            // An empty code block, for instance: as it was written, since nothing can't be sent.
            (text, _) if text.is_empty() => (markdown.trim().to_owned(), Vec::new()),
            rendered => rendered,
        };
        let chat = self.bot.paces().number(self.chat);
        let mut message = MessageText::new(chat, text);
        (message.thread, message.entities) = (self.thread, entities);
        message
    }

    fn take(&self) -> Result<(), SendError> {
        let now = tokio::time::Instant::now().into_std();
        self.bot.paces().take(now, self.chat, self.group).map_err(SendError::later)
    }

    /// Notes what a refusal says about the chat.
    fn note(&self, error: TelegramError) -> SendError {
        let now = tokio::time::Instant::now().into_std();
        match error.kind() {
            ErrorKind::Busy => {
                let wait = error.retry_after().unwrap_or(Duration::from_secs(1));
                self.bot.paces().close(now, self.chat, wait);
                metrics::counter!("livos_telegram_floods_total").increment(1);
                SendError::later(wait)
            }
            ErrorKind::Migrated => {
                if let Some(to) = error.migrated_to() {
                    tracing::warn!(chat = self.chat, to, "a group has another number from now on");
                    self.bot.paces().moved(self.chat, to);
                }
                SendError::later(Duration::ZERO)
            }
            ErrorKind::NotConnected => SendError::not_sent(error),
            ErrorKind::Lost | ErrorKind::Server => SendError::unknown(error),
            ErrorKind::Forbidden => SendError::gone(error),
            _ => SendError::refused(error),
        }
    }
}

#[async_trait]
impl Outlet for TelegramOutlet {
    fn limit(&self) -> Limit {
        MESSAGE
    }

    fn gap(&self) -> Duration {
        pace::gap(self.group)
    }

    fn typing_every(&self) -> Duration {
        TYPING
    }

    async fn post(&self, text: &str, _: &str) -> Result<String, SendError> {
        self.take()?;
        let message = self.text(text).in_reply_to(self.reply_to);
        let sent = self.bot.send_message(&message).await.map_err(|error| self.note(error))?;
        Ok(sent.message_id.to_string())
    }

    async fn edit(&self, message: &str, text: &str) -> Result<(), SendError> {
        self.take()?;
        let wrong = || TelegramError::of_ours(ErrorKind::Rejected, "it is no message of ours".into());
        let number = message.parse().map_err(|_| SendError::refused(wrong()))?;
        let text = self.text(text);
        self.bot.edit_message(number, &text).await.map_err(|error| self.note(error))
    }

    async fn remove(&self, message: &str) -> Result<(), SendError> {
        self.take()?;
        let Ok(number) = message.parse() else { return Ok(()) };
        let chat = self.bot.paces().number(self.chat);
        match self.bot.delete_message(chat, number).await.map_err(|error| self.note(error)) {
            // Gone already, or too old to be taken back.
            Err(error) if error.kind() == SendFailure::Refused => Ok(()),
            removed => removed,
        }
    }

    async fn typing(&self) -> Result<(), SendError> {
        let now = tokio::time::Instant::now().into_std();
        let chat = {
            let mut paces = self.bot.paces();
            if paces.is_closed(now, self.chat) {
                return Ok(());
            }
            paces.number(self.chat)
        };
        self.bot.typing(chat, self.thread).await.map_err(|error| self.note(error))
    }
}
