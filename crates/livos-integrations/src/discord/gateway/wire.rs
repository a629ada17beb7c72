//! The gateway's payloads, version 10, as JSON: `{op, d, s, t}`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{borrow::Cow, time::Duration};

use livos_core::secret::Secret;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{Command, Incoming, Session};
use crate::discord::{
    Id,
    event::{Interaction, WireInteraction, WireMessage},
};

/// The longest payload that Discord takes, in bytes; a longer one closes the connection with 4002.
pub const MAX_PAYLOAD: usize = 4096;

/// A payload of the peer: what it means for the connection, and what came with it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Payload {
    pub(super) incoming: Incoming,
    pub(super) content: Content,
}

/// What an event brought that anybody reads.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Nothing,
    /// Who the bot is.
    Ready {
        me: Id,
    },
    Message(Box<WireMessage>),
    Interaction(Box<Interaction>),
    /// A message or an interaction that can't be read, with the reason.
    Unreadable(String),
}

impl Incoming {
    /// Reads a payload of the gateway; none where it says nothing that matters to the connection.
    ///
    /// ```
    /// use livos_integrations::discord::gateway::Incoming;
    ///
    /// assert_eq!(Incoming::parse(r#"{"op":11}"#)?, Some(Incoming::HeartbeatAck));
    /// # Ok::<(), livos_integrations::discord::gateway::InvalidPayload>(())
    /// ```
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidPayload> {
        Ok(parse(text)?.map(|payload| payload.incoming))
    }
}

/// The peer sent what is no payload.
#[derive(Debug, thiserror::Error)]
#[error("discord's gateway sent what is no payload of version 10")]
pub struct InvalidPayload(#[source] serde_json::Error);

#[derive(Deserialize)]
struct Envelope<'a> {
    op: u8,
    #[serde(default, borrow)]
    d: Option<&'a RawValue>,
    s: Option<u64>,
    #[serde(default, borrow)]
    t: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Hello {
    heartbeat_interval: u64,
}

#[derive(Deserialize)]
struct Ready {
    session_id: String,
    resume_gateway_url: String,
    user: ReadyUser,
}

#[derive(Deserialize)]
struct ReadyUser {
    id: Id,
}

/// Reads a payload; none where it says nothing that matters here. Parts that nobody reads are
/// skipped and not parsed.
pub(super) fn parse(text: &str) -> Result<Option<Payload>, InvalidPayload> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(InvalidPayload)?;
    let data = envelope.d.map_or("null", RawValue::get);
    let incoming = match envelope.op {
        0 => return dispatch(envelope.s, envelope.t.as_deref().unwrap_or_default(), data),
        1 => Incoming::HeartbeatRequest,
        7 => Incoming::Reconnect,
        9 => Incoming::InvalidSession { resumable: serde_json::from_str(data).unwrap_or(false) },
        10 => {
            let hello: Hello = serde_json::from_str(data).map_err(InvalidPayload)?;
            Incoming::Hello { heartbeat_interval: Duration::from_millis(hello.heartbeat_interval) }
        }
        11 => Incoming::HeartbeatAck,
        _ => return Ok(None),
    };
    Ok(Some(Payload { incoming, content: Content::Nothing }))
}

fn dispatch(sequence: Option<u64>, name: &str, data: &str) -> Result<Option<Payload>, InvalidPayload> {
    // An event without a number can't be counted, and Discord sends none.
    let Some(sequence) = sequence else { return Ok(None) };
    let (incoming, content) = match name {
        "READY" => {
            let ready: Ready = serde_json::from_str(data).map_err(InvalidPayload)?;
            let session = Session {
                id: ready.session_id.into(),
                resume_url: ready.resume_gateway_url.into(),
                sequence,
            };
            (Incoming::Ready(session), Content::Ready { me: ready.user.id })
        }
        "RESUMED" => (Incoming::Resumed { sequence }, Content::Nothing),
        "MESSAGE_CREATE" => {
            let content = serde_json::from_str(data).map(|message| Content::Message(Box::new(message)));
            (Incoming::Dispatch { sequence }, content.unwrap_or_else(unreadable))
        }
        "INTERACTION_CREATE" => {
            let wire = serde_json::from_str::<WireInteraction>(data);
            let content = wire.map(|wire| Content::Interaction(Box::new(wire.into())));
            (Incoming::Dispatch { sequence }, content.unwrap_or_else(unreadable))
        }
        _ => (Incoming::Dispatch { sequence }, Content::Nothing),
    };
    Ok(Some(Payload { incoming, content }))
}

/// One event of a form that is not known must not stop the ones after it.
fn unreadable(error: serde_json::Error) -> Content {
    Content::Unreadable(error.to_string())
}

/// A payload that Discord would not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payload of {0} bytes is longer than the {MAX_PAYLOAD} that discord's gateway takes")]
pub struct PayloadTooLong(pub usize);

/// Writes a command. The token stands in two of them: the text is for the socket and for nothing
/// else.
pub(super) fn encode(command: &Command, token: &Secret, intents: u32) -> Result<String, PayloadTooLong> {
    let payload = match command {
        Command::Heartbeat { sequence } => json!({ "op": 1, "d": sequence }),
        Command::Identify => json!({ "op": 2, "d": {
            "token": token.expose(),
            "intents": intents,
            "properties": { "os": std::env::consts::OS, "browser": "livos", "device": "livos" },
        }}),
        Command::Presence(presence) => {
            let activities = match presence.text.as_str() {
                "" => json!([]),
                // A custom status shows its state; the name is required and not shown.
                text => json!([{ "type": 4, "name": "status", "state": text }]),
            };
            let status = if presence.idle { "idle" } else { "online" };
            json!({ "op": 3, "d": { "since": null, "activities": activities, "status": status, "afk": false } })
        }
        Command::Resume(session) => json!({ "op": 6, "d": {
            "token": token.expose(), "session_id": session.id, "seq": session.sequence,
        }}),
    };
    let text = payload.to_string();
    if text.len() > MAX_PAYLOAD { Err(PayloadTooLong(text.len())) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::discord::gateway::Presence;

    fn check(text: &str) -> Option<Incoming> {
        Incoming::parse(text).unwrap()
    }

    #[test]
    fn the_ops_of_the_documentation() {
        let hello = Incoming::Hello { heartbeat_interval: Duration::from_millis(41_250) };
        assert_eq!(check(r#"{"op":10,"d":{"heartbeat_interval":41250},"s":null,"t":null}"#), Some(hello));
        assert_eq!(check(r#"{"op":11}"#), Some(Incoming::HeartbeatAck));
        assert_eq!(check(r#"{"op":1,"d":null}"#), Some(Incoming::HeartbeatRequest));
        assert_eq!(check(r#"{"op":7,"d":null}"#), Some(Incoming::Reconnect));
        assert_eq!(check(r#"{"op":9,"d":true}"#), Some(Incoming::InvalidSession { resumable: true }));
        assert_eq!(check(r#"{"op":9,"d":null}"#), Some(Incoming::InvalidSession { resumable: false }));
        assert_eq!(
            check(r#"{"op":0,"t":"TYPING_START","s":4,"d":{}}"#),
            Some(Incoming::Dispatch { sequence: 4 })
        );
        assert_eq!(check(r#"{"op":0,"t":"RESUMED","s":9,"d":{}}"#), Some(Incoming::Resumed { sequence: 9 }));
        assert_eq!(check(r#"{"op":99,"d":1}"#), None);
    }

    #[test]
    fn an_event_of_a_form_that_is_not_known_counts_and_says_why() {
        let payload = parse(r#"{"op":0,"t":"MESSAGE_CREATE","s":4,"d":{"id":7}}"#).unwrap().unwrap();
        assert_eq!(payload.incoming, Incoming::Dispatch { sequence: 4 });
        assert!(matches!(payload.content, Content::Unreadable(_)));
    }

    #[test]
    fn a_payload_that_is_too_long_is_not_sent() {
        let long = Command::Presence(Presence { idle: false, text: "x".repeat(4096) });
        assert!(matches!(encode(&long, &Secret::new("t"), 0), Err(PayloadTooLong(4097..))));
        let text = encode(&Command::Identify, &Secret::new("token"), 4609).unwrap();
        assert!(text.contains("\"intents\":4609") && text.contains("\"token\":\"token\""));
    }

    proptest! {
        #[test]
        fn no_text_of_a_peer_panics(text in "\\PC{0,200}", op in 0u8..12, data in "[\\[\\]{}\":0-9a-z,]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!(r#"{{"op":{op},"d":{data},"s":1,"t":"READY"}}"#));
        }
    }
}
