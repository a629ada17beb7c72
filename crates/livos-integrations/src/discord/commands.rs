//! The bot's slash commands, registered only when they differ: Discord counts what is created, and
//! clients forget what they had cached.

use serde_json::{Value, json};

use super::{Id, Rest, RestError};

/// A command that people find when they type a slash.
///
/// ```
/// use livos_integrations::discord::{CommandOption, OptionKind, SlashCommand};
///
/// let ask = SlashCommand::new("ask", "Ask the agent something")
///     .with_option(CommandOption::new("question", "What you want to know", OptionKind::Text).required());
/// assert!(SlashCommand::check_all(&[ask]).is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlashCommand {
    /// What is typed: 1 to 32 lower-case letters, digits, `-`, `_` or `'`.
    pub name: String,
    /// The text shown next to the name: 1 to 100 characters.
    pub description: String,
    /// What may be given with it, the required ones first; at most 25.
    pub options: Vec<CommandOption>,
}

/// Something that is given with a command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommandOption {
    /// Its name, as that of a command.
    pub name: String,
    /// The text shown next to the name: 1 to 100 characters.
    pub description: String,
    /// What it is.
    pub kind: OptionKind,
    /// Whether the command can't be sent without.
    pub required: bool,
}

/// What an option is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// Text.
    Text,
    /// A whole number.
    Integer,
    /// True or false.
    Boolean,
}

/// A list of commands that Discord would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the command or option {name:?} can't be registered: {why}")]
pub struct InvalidSlashCommand {
    name: String,
    why: &'static str,
}

const MOST_COMMANDS: usize = 100;
const MOST_OPTIONS: usize = 25;
/// Characters of a command's names and descriptions together.
const MOST_CHARACTERS: usize = 8000;

impl CommandOption {
    /// An option that may be left out.
    pub fn new(name: impl Into<String>, description: impl Into<String>, kind: OptionKind) -> Self {
        Self { name: name.into(), description: description.into(), kind, required: false }
    }

    /// One that may not.
    #[must_use]
    pub fn required(self) -> Self {
        Self { required: true, ..self }
    }

    fn to_json(&self) -> Value {
        let kind = match self.kind {
            OptionKind::Text => 3,
            OptionKind::Integer => 4,
            OptionKind::Boolean => 5,
        };
        json!({ "type": kind, "name": self.name, "description": self.description, "required": self.required })
    }
}

impl SlashCommand {
    /// A command without options.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self { name: name.into(), description: description.into(), options: Vec::new() }
    }

    /// The same with a further option.
    #[must_use]
    pub fn with_option(mut self, option: CommandOption) -> Self {
        self.options.push(option);
        self
    }

    /// Checks what Discord would refuse, before it does.
    pub fn check_all(commands: &[Self]) -> Result<(), InvalidSlashCommand> {
        let refuse = |name: &str, why| Err(InvalidSlashCommand { name: name.to_owned(), why });
        if let Some(beyond) = commands.get(MOST_COMMANDS) {
            return refuse(&beyond.name, "there are more than 100 commands");
        }
        for (index, command) in commands.iter().enumerate() {
            if commands[..index].iter().any(|other| other.name == command.name) {
                return refuse(&command.name, "the name stands twice");
            }
            command.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), InvalidSlashCommand> {
        let refuse = |name: &str, why| Err(InvalidSlashCommand { name: name.to_owned(), why });
        let words = self.options.iter().map(|option| (&option.name, &option.description));
        let mut characters = 0;
        for (name, description) in words.chain([(&self.name, &self.description)]) {
            if !is_name(name) {
                return refuse(name, "a name has 1 to 32 lower-case letters, digits, '-', '_' or '''");
            }
            if !(1..=100).contains(&description.chars().count()) {
                return refuse(name, "a description has 1 to 100 characters");
            }
            characters += name.chars().count() + description.chars().count();
        }
        let late = self.options.windows(2).find(|pair| !pair[0].required && pair[1].required);
        match late {
            Some(pair) => refuse(&pair[1].name, "required options come first"),
            None if self.options.len() > MOST_OPTIONS => refuse(&self.name, "it has more than 25 options"),
            None if characters > MOST_CHARACTERS => refuse(&self.name, "it has more than 8,000 characters"),
            None => Ok(()),
        }
    }

    /// For servers and direct messages alike.
    fn to_json(&self) -> Value {
        let options: Vec<Value> = self.options.iter().map(CommandOption::to_json).collect();
        json!({
            "type": CHAT_INPUT, "name": self.name, "description": self.description, "options": options, "contexts": [0, 1],
        })
    }
}

const CHAT_INPUT: u64 = 1;

fn is_name(name: &str) -> bool {
    let allowed =
        |c: char| matches!(c, '-' | '_' | '\'') || (c.is_alphanumeric() && c.to_lowercase().eq([c]));
    (1..=32).contains(&name.chars().count()) && name.chars().all(allowed)
}

/// What of a command counts for whether it differs: Discord adds ids, versions and defaults.
fn essence(command: &Value) -> Value {
    let option = |option: &Value| {
        json!([
            option["type"],
            option["name"],
            option["description"],
            option["required"].as_bool().unwrap_or(false)
        ])
    };
    let options: Vec<Value> = command["options"].as_array().into_iter().flatten().map(option).collect();
    let mut contexts: Vec<u64> =
        command["contexts"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    contexts.sort_unstable();
    json!([command["name"], command["description"], options, contexts])
}

fn is_chat_input(command: &Value) -> bool {
    // Absent means chat input too.
    command["type"].as_u64().unwrap_or(CHAT_INPUT) == CHAT_INPUT
}

/// The whole list to be written, or none where Discord has it already. Commands of other types stay
/// as they are.
fn difference(wanted: &[SlashCommand], there: &[Value]) -> Option<Value> {
    let mut wanted: Vec<Value> = wanted.iter().map(SlashCommand::to_json).collect();
    let sorted = |commands: &mut dyn Iterator<Item = &Value>| {
        let mut essences: Vec<String> = commands.map(|command| essence(command).to_string()).collect();
        essences.sort_unstable();
        essences
    };
    let same =
        sorted(&mut wanted.iter()) == sorted(&mut there.iter().filter(|command| is_chat_input(command)));
    wanted.extend(there.iter().filter(|command| !is_chat_input(command)).cloned());
    (!same).then_some(Value::Array(wanted))
}

impl Rest {
    /// Makes these the bot's global slash commands; answers whether anything had to be written.
    pub async fn register_commands(
        &self,
        application: Id,
        commands: &[SlashCommand],
    ) -> Result<bool, RestError> {
        SlashCommand::check_all(commands).map_err(|error| RestError::Invalid(error.into()))?;
        let there = self.commands(application).await?;
        match difference(commands, &there) {
            Some(list) => self.put_commands(application, &list).await.map(|()| true),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> SlashCommand {
        let question = CommandOption::new("question", "What?", OptionKind::Text).required();
        SlashCommand::new("ask", "Ask something").with_option(question)
    }

    #[test]
    fn what_discord_adds_is_no_difference_and_what_somebody_changed_is() {
        let mut there = ask().to_json();
        there["id"] = json!("9");
        there["version"] = json!("10");
        there["contexts"] = json!([1, 0]);
        assert_eq!(difference(&[ask()], &[there.clone()]), None);
        there["description"] = json!("Ask nothing");
        assert!(difference(&[ask()], &[there]).is_some());
        assert!(difference(&[ask()], &[]).is_some());
        assert!(difference(&[], &[ask().to_json()]).is_some());
    }

    #[test]
    fn commands_of_other_types_are_kept() {
        let entry = json!({ "type": 4, "name": "launch", "id": "5" });
        assert_eq!(difference(&[ask()], &[ask().to_json(), entry.clone()]), None);
        assert_eq!(difference(&[], &[ask().to_json(), entry.clone()]), Some(json!([entry])));
    }

    #[test]
    fn what_discord_would_refuse_is_not_sent() {
        let refused = |command: SlashCommand| SlashCommand::check_all(&[command]).unwrap_err().why;
        assert!(refused(SlashCommand::new("Ask", "x")).contains("lower-case"));
        assert!(refused(SlashCommand::new("a b", "x")).contains("name"));
        assert!(refused(SlashCommand::new("a", "")).contains("description"));
        let optional = CommandOption::new("a", "x", OptionKind::Integer);
        let late = optional.clone().required();
        let late = CommandOption { name: "b".into(), ..late };
        assert!(refused(ask().with_option(optional).with_option(late)).contains("first"));
        assert_eq!(SlashCommand::check_all(&[ask(), ask()]).unwrap_err().why, "the name stands twice");
        assert!(SlashCommand::check_all(&[SlashCommand::new("größe", "ü")]).is_ok());
    }
}
