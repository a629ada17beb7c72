//! How an interaction is answered at once: the agent has fifteen minutes, Discord waits for three
//! seconds.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a user did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InteractionKind {
    /// Discord checks that the endpoint answers.
    Ping,
    /// A command.
    Command,
    /// A button or a menu.
    Component,
    /// A command is being typed, and its options want completion.
    Autocomplete,
    /// A form was sent.
    Modal,
    /// Something newer.
    Unknown,
}

impl InteractionKind {
    /// The kind of Discord's number.
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Ping,
            2 => Self::Command,
            3 => Self::Component,
            4 => Self::Autocomplete,
            5 => Self::Modal,
            _ => Self::Unknown,
        }
    }
}

/// The first response to an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InteractionAnswer {
    /// Somebody is here.
    Pong,
    /// "Thinking…"; the answer comes later.
    Deferred {
        /// Whether only the user sees it and what comes after it. It can't be changed later.
        ephemeral: bool,
    },
    /// The same for a button or a menu, without anything to see.
    DeferredUpdate,
    /// No completions.
    NoChoices,
    /// The queue is full; only the user sees it.
    Busy,
}

/// What to do with an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Only respond.
    Respond(InteractionAnswer),
    /// Enqueue it, and then respond; [`InteractionAnswer::Busy`] where that failed.
    Enqueue(InteractionAnswer),
}

/// What to do with an interaction of this kind.
///
/// ```
/// use livos_integrations::discord::{InteractionKind, Reaction, InteractionAnswer, react};
///
/// assert_eq!(react(InteractionKind::Ping, false), Reaction::Respond(InteractionAnswer::Pong));
/// assert_eq!(react(InteractionKind::Command, true), Reaction::Enqueue(InteractionAnswer::Deferred { ephemeral: true }));
/// ```
pub fn react(kind: InteractionKind, ephemeral: bool) -> Reaction {
    match kind {
        InteractionKind::Ping => Reaction::Respond(InteractionAnswer::Pong),
        InteractionKind::Autocomplete => Reaction::Respond(InteractionAnswer::NoChoices),
        InteractionKind::Component => Reaction::Enqueue(InteractionAnswer::DeferredUpdate),
        InteractionKind::Command | InteractionKind::Modal | InteractionKind::Unknown => {
            Reaction::Enqueue(InteractionAnswer::Deferred { ephemeral })
        }
    }
}

/// What the user reads when the queue is full.
const BUSY: &str = "I have too much to do right now. Please try again in a few minutes.";

impl InteractionAnswer {
    /// As Discord reads it.
    pub fn to_json(self) -> Value {
        match self {
            Self::Pong => json!({ "type": 1 }),
            // Of all flags, this one alone is allowed with a deferral.
            Self::Deferred { ephemeral: true } => json!({ "type": 5, "data": { "flags": 64 } }),
            Self::Deferred { ephemeral: false } => json!({ "type": 5 }),
            Self::DeferredUpdate => json!({ "type": 6 }),
            Self::NoChoices => json!({ "type": 8, "data": { "choices": [] } }),
            Self::Busy => json!({ "type": 4, "data": {
                "content": BUSY, "flags": 64, "allowed_mentions": { "parse": [] },
            }}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_those_of_the_documentation() {
        let check =
            |response: InteractionAnswer, json: &str| assert_eq!(response.to_json().to_string(), json);
        check(InteractionAnswer::Pong, r#"{"type":1}"#);
        check(InteractionAnswer::Deferred { ephemeral: false }, r#"{"type":5}"#);
        check(InteractionAnswer::Deferred { ephemeral: true }, r#"{"data":{"flags":64},"type":5}"#);
        check(InteractionAnswer::DeferredUpdate, r#"{"type":6}"#);
        check(InteractionAnswer::NoChoices, r#"{"data":{"choices":[]},"type":8}"#);
        assert_eq!(InteractionAnswer::Busy.to_json()["data"]["flags"], 64);
    }
}
