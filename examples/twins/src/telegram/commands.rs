//! The lists of commands that a bot shows.

use serde_json::Value;

use super::{failure::Failure, params::Params};

/// The key of [`scope`] for commands without a scope.
pub(super) const DEFAULT_SCOPE: &str = "default ";

/// The scope and language of a list of commands, as one key.
pub(super) fn scope(params: &Params) -> String {
    let scope = params.json("scope").unwrap_or_default();
    format!(
        "{} {}",
        scope["type"].as_str().unwrap_or("default"),
        params.text("language_code").unwrap_or_default()
    )
}

/// Refuses a list of commands that the provider would refuse.
pub(super) fn check_commands(commands: &Value) -> Result<(), Failure> {
    let list =
        commands.as_array().ok_or_else(|| Failure::bad("can't parse BotCommand: expected an Array"))?;
    if list.len() > 100 {
        return Err(Failure::bad("BOT_COMMANDS_TOO_MUCH"));
    }
    let named = |name: &str| {
        (1..=32).contains(&name.len()) && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
    };
    for command in list {
        if !command["command"].as_str().is_some_and(named) {
            return Err(Failure::bad("BOT_COMMAND_INVALID"));
        }
        let length = command["description"].as_str().map_or(0, |text| text.chars().count());
        if !(1..=256).contains(&length) {
            return Err(Failure::bad("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
    }
    Ok(())
}
