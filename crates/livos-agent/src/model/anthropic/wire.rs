//! Requests and events of the API, as far as this client writes and reads them.

use livos_core::conversation::{Channel, Finish, TokenUsage};
use serde::{Deserialize, Serialize};

use super::AnthropicConfig;
use crate::{
    message::{Message, Role},
    model::ModelRequest,
};

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    system: Vec<Block<'a>>,
    messages: Vec<WireMessage<'a>>,
}

#[derive(Serialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: &'static str,
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: [Block<'a>; 1],
}

#[derive(Serialize)]
struct Block<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<CacheControl>,
}

#[derive(Serialize)]
struct CacheControl {
    #[serde(rename = "type")]
    kind: &'static str,
}

const CACHED: Option<CacheControl> = Some(CacheControl { kind: "ephemeral" });

fn block(text: &str, cache_control: Option<CacheControl>) -> Block<'_> {
    Block { kind: "text", text, cache_control }
}

/// The body of a request. Fields are in a fixed order and nothing in the prefix changes from turn
/// to turn, because the provider's cache matches the exact bytes; the last system block and the
/// last message are marked, so that the next turn reads what this one wrote.
pub(super) fn body(config: &AnthropicConfig, request: &ModelRequest) -> Result<Vec<u8>, serde_json::Error> {
    let spoken = request.channel == Channel::Voice;
    let mut system: Vec<&str> = vec![&config.system];
    if spoken {
        system.push(&config.voice_style);
    }
    system.retain(|text| !text.trim().is_empty());
    let (last_system, last_message) = (system.len(), request.messages.len());
    let mark = |last: bool| if last { CACHED } else { None };
    serde_json::to_vec(&Body {
        model: &config.model,
        max_tokens: config.max_tokens,
        stream: true,
        thinking: thinking(&config.model, spoken),
        system: system.iter().enumerate().map(|(n, text)| block(text, mark(n + 1 == last_system))).collect(),
        messages: request
            .messages
            .iter()
            .enumerate()
            .map(|(n, message)| wire_message(message, mark(n + 1 == last_message)))
            .collect(),
    })
}

fn wire_message(message: &Message, cache_control: Option<CacheControl>) -> WireMessage<'_> {
    let role = match message.role {
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    WireMessage { role, content: [block(&message.text, cache_control)] }
}

/// Thinking is switched off for speech, where the model knows the switch. Models that always think
/// refuse it, and families before Sonnet 5 do not think unless they are told to.
fn thinking(model: &str, spoken: bool) -> Option<Thinking> {
    let always_thinks = ["fable", "mythos"].iter().any(|family| model.contains(family));
    (spoken && !always_thinks).then_some(Thinking { kind: "disabled" })
}

/// One event of the stream. Unknown kinds, deltas and fields are ignored: the provider adds them
/// without a new version.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum StreamEvent {
    MessageStart {
        message: Started,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Stopped,
        #[serde(default)]
        usage: Usage,
    },
    MessageStop,
    Error {
        error: ApiError,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(super) struct Started {
    #[serde(default)]
    pub(super) usage: Usage,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Delta {
    TextDelta {
        text: String,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
pub(super) struct Stopped {
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
}

/// Figures that are absent were not reported, which is not the same as zero.
#[derive(Debug, Default, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Usage {
    /// Later figures replace earlier ones: the provider's are cumulative.
    pub(super) fn update(self, usage: &mut TokenUsage) {
        let set = |slot: &mut u64, figure: Option<u64>| *slot = figure.unwrap_or(*slot);
        set(&mut usage.input, self.input_tokens);
        set(&mut usage.cache_write, self.cache_creation_input_tokens);
        set(&mut usage.cache_read, self.cache_read_input_tokens);
        set(&mut usage.output, self.output_tokens);
    }
}

/// The body of an error, and the content of an `error` event.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ErrorBody {
    #[serde(default)]
    pub(super) error: ApiError,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ApiError {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) message: String,
}

pub(super) fn finish(stop_reason: Option<&str>) -> Finish {
    match stop_reason {
        Some("max_tokens" | "model_context_window_exceeded") => Finish::Length,
        Some("refusal") => Finish::Refused,
        _ => Finish::Complete,
    }
}
