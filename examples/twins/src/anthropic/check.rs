//! What the provider refuses, and how it counts.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::Value;

/// Why a request is refused with 400, in the provider's words where they are known. `generating` when an answer is asked for.
pub(super) fn messages(request: &Value, generating: bool) -> Result<(), String> {
    let model = request["model"].as_str().filter(|model| !model.is_empty()).ok_or("model: Field required")?;
    if generating {
        request["max_tokens"].as_u64().ok_or("max_tokens: Field required")?;
        if request["max_tokens"] == 0 && request["stream"] == true {
            return Err("max_tokens: 0 is not supported with stream".into());
        }
        let never = ["fable", "mythos"].iter().any(|family| model.contains(family));
        if never && request["thinking"]["type"] == "disabled" {
            return Err("thinking: this model does not support disabled thinking".into());
        }
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

/// The tokens of a request, and of each prefix that ends at a cache mark, with its hash. Rendered as the provider does: tools, system, messages.
pub(super) fn prefixes(request: &Value) -> (u64, Vec<(u64, u64)>) {
    let mut hash = DefaultHasher::new();
    request["model"].to_string().hash(&mut hash);
    let (mut total, mut marks) = (0, Vec::new());
    let mut render = |block: &Value| {
        let mut bare = block.clone();
        let marked = bare.as_object_mut().is_some_and(|fields| fields.remove("cache_control").is_some());
        let text = bare.to_string();
        text.hash(&mut hash);
        // About four characters a token.
        total += (text.len() as u64).div_ceil(4);
        if marked {
            marks.push((hash.finish(), total));
        }
    };
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&request["tools"]).iter().for_each(&mut render);
    match &request["system"] {
        Value::Array(blocks) => blocks.iter().for_each(&mut render),
        Value::Null => {}
        text => render(text),
    }
    for message in list(&request["messages"]) {
        match &message["content"] {
            Value::Array(blocks) => blocks.iter().for_each(&mut render),
            text => render(text),
        }
    }
    (total, marks)
}
