//! The commands that the app offers behind its slash.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Bot, TelegramError};

/// A command, as the app shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BotCommand {
    command: String,
    description: String,
}

/// No such command can be registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a command is 1 to 32 of a-z, 0-9 and _ with a description of 1 to 256 characters, and a bot has at most 100: {0:?} is not"
)]
pub struct InvalidBotCommand(String);

impl BotCommand {
    /// A command without its slash, and what it does.
    pub fn new(
        command: impl Into<String>,
        description: impl Into<String>,
    ) -> Result<Self, InvalidBotCommand> {
        let (command, description) = (command.into(), description.into());
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let named = (1..=32).contains(&command.len()) && command.bytes().all(allowed);
        if !named || !(1..=256).contains(&description.chars().count()) {
            return Err(InvalidBotCommand(command));
        }
        Ok(Self { command, description })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.command
    }
}

impl Bot {
    /// Makes these the commands, if others are registered; answers whether anything was changed.
    /// More than 100 are refused by the server.
    pub async fn register_commands(&self, commands: &[BotCommand]) -> Result<bool, TelegramError> {
        let known: Vec<BotCommand> = self.call("getMyCommands", &json!({})).await?;
        if known == commands {
            return Ok(false);
        }
        self.call::<bool>("setMyCommands", &json!({ "commands": commands })).await.map(|_| true)
    }
}
