//! How an interaction is answered at once: the agent has fifteen minutes, Discord waits for three
//! seconds.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use serde_json::{Value, json};

use super::event::InteractionKind;

/// The first response to an interaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Response {
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
    Respond(Response),
    /// Enqueue it, and then respond; [`Response::Busy`] where that failed.
    Enqueue(Response),
}

/// What to do with an interaction of this kind.
///
/// ```
/// use livos_integrations::discord::{InteractionKind, Reaction, Response, react};
///
/// assert_eq!(react(InteractionKind::Ping, false), Reaction::Respond(Response::Pong));
/// assert_eq!(react(InteractionKind::Command, true), Reaction::Enqueue(Response::Deferred { ephemeral: true }));
/// ```
pub fn react(kind: InteractionKind, ephemeral: bool) -> Reaction {
    match kind {
        InteractionKind::Ping => Reaction::Respond(Response::Pong),
        InteractionKind::Autocomplete => Reaction::Respond(Response::NoChoices),
        InteractionKind::Component => Reaction::Enqueue(Response::DeferredUpdate),
        InteractionKind::Command | InteractionKind::Modal | InteractionKind::Unknown => {
            Reaction::Enqueue(Response::Deferred { ephemeral })
        }
    }
}

/// What the user reads when the queue is full.
const BUSY: &str = "I have too much to do right now. Please try again in a few minutes.";

impl Response {
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
        let check = |response: Response, json: &str| assert_eq!(response.to_json().to_string(), json);
        check(Response::Pong, r#"{"type":1}"#);
        check(Response::Deferred { ephemeral: false }, r#"{"type":5}"#);
        check(Response::Deferred { ephemeral: true }, r#"{"data":{"flags":64},"type":5}"#);
        check(Response::DeferredUpdate, r#"{"type":6}"#);
        check(Response::NoChoices, r#"{"data":{"choices":[]},"type":8}"#);
        assert_eq!(Response::Busy.to_json()["data"]["flags"], 64);
    }
}
