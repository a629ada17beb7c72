//! What the provider refuses, and how it counts.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use serde_json::Value;

/// Why a request is refused with 400, in the provider's words where they are known. `generating`
/// when an answer is asked for.
pub(super) fn messages(request: &Value, generating: bool) -> Result<(), String> {
    let model = request["model"].as_str().filter(|model| !model.is_empty()).ok_or("model: Field required")?;
    if generating {
        request["max_tokens"].as_u64().ok_or("max_tokens: Field required")?;
        if request["max_tokens"] == 0 && request["stream"] == true {
            return Err("max_tokens: 0 is not supported with stream".into());
        }
        sampling(model, request)?;
        thinking(model, request)?;
    }
    if marks(request) > MAX_MARKS {
        let found = marks(request);
        return Err(format!(
            "A maximum of {MAX_MARKS} blocks with cache_control may be provided. Found {found}."
        ));
    }
    let messages = request["messages"].as_array().ok_or("messages: Field required")?;
    if messages.is_empty() {
        return Err("messages: at least one message is required".into());
    }
    for (n, message) in messages.iter().enumerate() {
        match message["role"].as_str() {
            Some("user" | "assistant") => {}
            _ => return Err(format!("messages.{n}.role: Input should be 'user' or 'assistant'")),
        }
        content(n, &message["content"])?;
    }
    if messages[0]["role"] != "user" {
        return Err("messages: first message must use the \"user\" role".into());
    }
    if generating && messages[messages.len() - 1]["role"] == "assistant" && !model.contains("haiku-4-5") {
        return Err("This model does not support assistant message prefill. The conversation must end with a user message.".into());
    }
    pairs(messages)
}

/// The most cache marks of one request, the automatic one included.
const MAX_MARKS: usize = 4;
/// How many blocks before a mark are searched for an entry.
const LOOKBACK: usize = 20;

fn is_any(model: &str, families: &[&str]) -> bool {
    families.iter().any(|family| model.contains(family))
}

/// Newer models take no sampling parameters but the defaults, and no budget of thinking.
const SELF_STEERING: [&str; 6] = ["fable", "mythos", "sonnet-5", "opus-4-7", "opus-4-8", "opus-5"];

fn sampling(model: &str, request: &Value) -> Result<(), String> {
    let temperature = &request["temperature"];
    if temperature.as_f64().is_some_and(|value| !(0.0..=1.0).contains(&value)) {
        return Err("temperature: range: 0..1".into());
    }
    let moved = temperature.as_f64().is_some_and(|value| value < 1.0)
        || !request["top_p"].is_null()
        || !request["top_k"].is_null();
    if moved && is_any(model, &SELF_STEERING) {
        return Err("sampling parameters are not supported on this model".into());
    }
    Ok(())
}

fn thinking(model: &str, request: &Value) -> Result<(), String> {
    let thinking = &request["thinking"];
    match thinking["type"].as_str() {
        None if thinking.is_null() => Ok(()),
        Some("disabled") if is_any(model, &["fable", "mythos"]) => {
            Err("thinking: this model does not support disabled thinking".into())
        }
        Some("disabled") => Ok(()),
        Some("adaptive" | "enabled") if request["max_tokens"] == 0 => {
            Err("max_tokens: 0 is not supported with thinking".into())
        }
        Some("adaptive") => Ok(()),
        Some("enabled") if is_any(model, &SELF_STEERING) => {
            Err("thinking.budget_tokens is not supported on this model".into())
        }
        Some("enabled") => match thinking["budget_tokens"].as_u64() {
            None => Err("thinking.enabled.budget_tokens: Field required".into()),
            Some(..1024) => {
                Err("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024".into())
            }
            Some(budget) if request["max_tokens"].as_u64().is_some_and(|most| most <= budget) => {
                Err("`max_tokens` must be greater than `thinking.budget_tokens`".into())
            }
            Some(_) => Ok(()),
        },
        _ => Err("thinking.type: Input should be 'adaptive', 'disabled' or 'enabled'".into()),
    }
}

/// How the model thinks before it answers: not at all, with its thoughts kept back, or with their
/// summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thinks {
    No,
    Omitted,
    Summarized,
}

pub(super) fn thinks(request: &Value) -> Thinks {
    let model = request["model"].as_str().unwrap_or_default();
    let by_default = is_any(model, &["fable", "mythos", "sonnet-5"]);
    let on = match request["thinking"]["type"].as_str() {
        Some(kind) => kind != "disabled",
        None => by_default && request["max_tokens"] != 0,
    };
    match request["thinking"]["display"].as_str() {
        _ if !on => Thinks::No,
        Some("summarized") => Thinks::Summarized,
        None if !is_any(model, &SELF_STEERING) => Thinks::Summarized,
        _ => Thinks::Omitted,
    }
}

/// Cache marks of a request.
fn marks(request: &Value) -> usize {
    let prompt = Prompt::of(request);
    prompt.marks.len()
}

fn content(n: usize, content: &Value) -> Result<(), String> {
    if content.as_str().is_some_and(str::is_empty) {
        return Err(format!("messages.{n}: user messages must have non-empty content"));
    }
    if content.is_string() {
        return Ok(());
    }
    let blocks = content.as_array().ok_or_else(|| format!("messages.{n}.content: Field required"))?;
    for block in blocks {
        let kind =
            block["type"].as_str().ok_or_else(|| format!("messages.{n}.content: type: Field required"))?;
        if kind == "text" && block["text"].as_str().is_none_or(|text| text.trim().is_empty()) {
            return Err("messages: text content blocks must be non-empty".into());
        }
    }
    Ok(())
}

/// Every tool use is answered at the beginning of the next message, and nothing else is.
fn pairs(messages: &[Value]) -> Result<(), String> {
    let ids = |message: Option<&Value>, kind: &str, key: &str| -> Vec<String> {
        let blocks =
            message.and_then(|message| message["content"].as_array()).map(Vec::as_slice).unwrap_or_default();
        blocks
            .iter()
            .filter(|block| block["type"] == kind)
            .filter_map(|block| block[key].as_str())
            .map(str::to_owned)
            .collect()
    };
    for n in 0..messages.len() {
        let asked = ids(messages.get(n), "tool_use", "id");
        let given = ids(messages.get(n + 1), "tool_result", "tool_use_id");
        if let Some(missing) = asked.iter().find(|id| !given.contains(id)) {
            return Err(format!(
                "messages.{n}: `tool_use` ids were found without `tool_result` blocks immediately after: {missing}. Each `tool_use` \
                 block must have a corresponding `tool_result` block in the next message."
            ));
        }
        let results = ids(messages.get(n), "tool_result", "tool_use_id");
        let before =
            n.checked_sub(1).map(|before| ids(messages.get(before), "tool_use", "id")).unwrap_or_default();
        if let Some(unexpected) = results.iter().find(|id| !before.contains(id)) {
            return Err(format!(
                "messages.{n}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {unexpected}"
            ));
        }
    }
    Ok(())
}

/// The fewest tokens of a prefix that the model caches.
pub(super) fn cache_minimum(model: &str) -> u64 {
    if model.contains("haiku-4-5") || model.contains("opus-4-6") || model.contains("opus-4-5") {
        4096
    } else {
        1024
    }
}

/// A request as the provider's cache sees it: blocks in the order tools, system, messages, each
/// standing for the prefix that it ends.
#[derive(Debug, Default)]
pub(super) struct Prompt {
    /// The hash of each prefix, and its tokens.
    prefixes: Vec<(u64, u64)>,
    /// Which prefixes are marked, and for how long.
    marks: Vec<(usize, Duration)>,
}

impl Prompt {
    pub(super) fn of(request: &Value) -> Self {
        let mut prompt = Self::default();
        let (mut hash, mut total) = (DefaultHasher::new(), 0);
        request["model"].to_string().hash(&mut hash);
        let mut render = |role: &Value, block: &Value| {
            let mut bare = block.clone();
            let mark = bare.as_object_mut().and_then(|fields| fields.remove("cache_control"));
            let text = bare.to_string();
            (role.as_str(), &text).hash(&mut hash);
            // About four characters a token.
            total += (text.len() as u64).div_ceil(4);
            if let Some(mark) = mark {
                prompt.marks.push((prompt.prefixes.len(), lifetime(&mark)));
            }
            prompt.prefixes.push((hash.finish(), total));
        };
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        for tool in list(&request["tools"]) {
            render(&Value::Null, &tool);
        }
        match &request["system"] {
            Value::Array(blocks) => blocks.iter().for_each(|block| render(&Value::Null, block)),
            Value::Null => {}
            text => render(&Value::Null, text),
        }
        for message in list(&request["messages"]) {
            match &message["content"] {
                Value::Array(blocks) => blocks.iter().for_each(|block| render(&message["role"], block)),
                text => render(&message["role"], text),
            }
        }
        // The mark at the top of a request moves along with its last block.
        if request["cache_control"].is_object() && !prompt.prefixes.is_empty() {
            prompt.marks.push((prompt.prefixes.len() - 1, lifetime(&request["cache_control"])));
        }
        prompt
    }

    /// Tokens of the whole request.
    pub(super) fn tokens(&self) -> u64 {
        self.prefixes.last().map_or(0, |(_, tokens)| *tokens)
    }

    /// Where the tokens are billed, if the cache holds what `cached` says of a hash. A mark finds
    /// an entry that ends at most [`LOOKBACK`] blocks before it; the longest counts.
    pub(super) fn bill(&self, minimum: u64, cached: impl Fn(u64) -> bool) -> Input {
        let found = self.marks.iter().flat_map(|(mark, _)| {
            let window = &self.prefixes[mark.saturating_sub(LOOKBACK)..=*mark];
            window.iter().filter(|(hash, _)| cached(*hash))
        });
        let (hit, read) = found
            .max_by_key(|(_, tokens)| *tokens)
            .map_or((None, 0), |(hash, tokens)| (Some(*hash), *tokens));
        let mut input = Input { read, hit, ..Input::default() };
        let mut reach = read;
        for (mark, lifetime) in &self.marks {
            let (hash, tokens) = self.prefixes[*mark];
            if tokens >= minimum {
                let written = tokens.saturating_sub(reach);
                reach = reach.max(tokens);
                input.entries.push((hash, *lifetime));
                if *lifetime > SHORT { input.written_for_long += written } else { input.written += written }
            }
        }
        input.fresh = self.tokens() - reach;
        input
    }
}

/// How long a cached prefix lives after its last use, where the mark does not say.
const SHORT: Duration = Duration::from_secs(300);

fn lifetime(mark: &Value) -> Duration {
    if mark["ttl"] == "1h" { Duration::from_secs(3600) } else { SHORT }
}

/// The tokens of one request, by where they are billed, and what it leaves in the cache.
#[derive(Debug, Clone, Default)]
pub(super) struct Input {
    pub(super) fresh: u64,
    /// Written for five minutes.
    pub(super) written: u64,
    /// Written for an hour.
    pub(super) written_for_long: u64,
    pub(super) read: u64,
    /// The entry that was read.
    pub(super) hit: Option<u64>,
    /// Entries that become readable when the answer begins, and for how long.
    pub(super) entries: Vec<(u64, Duration)>,
}
