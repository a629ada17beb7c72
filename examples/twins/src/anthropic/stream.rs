//! One answer on its way out: events at the pace of the profile, cut where a network would cut
//! them.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::{
    Anthropic, Break, Said,
    check::{self, Input, Thinks},
};
use crate::{
    connection::Connection,
    latency::Profile,
    random::Random,
    serve::{self, Body},
};

pub(super) struct Answer {
    twin: Anthropic,
    model: String,
    id: String,
    input: Input,
    blocks: Vec<Said>,
    /// The id of each tool call, by the place of its block.
    tool_ids: Vec<String>,
    thinks: Thinks,
    stop_reason: &'static str,
    how: Option<Break>,
    first_token: Duration,
    between: Duration,
    random: Random,
}

/// An event, and how long before it.
struct Timed {
    after: Duration,
    event: Value,
    /// Tokens that it brings.
    tokens: u64,
}

impl Answer {
    pub(super) fn new(
        twin: Anthropic,
        request: &Value,
        input: Input,
        mut blocks: Vec<Said>,
        how: Option<Break>,
        connection: &Connection,
    ) -> Self {
        let mut random = connection.random();
        let config = &twin.0.config;
        let zero = config.profile == Profile::Zero;
        let first_token = config.profile.latency().first_token.sample(&mut random);
        let between =
            if zero { Duration::ZERO } else { Duration::from_secs_f64(1.0 / config.tokens_per_second) };
        let budget = request["max_tokens"].as_u64().unwrap_or(u64::MAX);
        let mut stop_reason =
            if blocks.iter().any(|said| matches!(said, Said::Tool { .. })) { "tool_use" } else { "end_turn" };
        let thinks = check::thinks(request);
        if thinks != Thinks::No && !matches!(blocks.first(), Some(Said::Thinking(_))) {
            blocks.insert(0, Said::Thinking(THOUGHTS.into()));
        }
        if how == Some(Break::Refusal) {
            (blocks, stop_reason) = (Vec::new(), "refusal");
        }
        if budget < blocks.iter().map(tokens_of).sum() {
            stop_reason = "max_tokens";
            blocks = cut_to(blocks, budget);
        }
        let id = format!("msg_{}", random.uuid().simple());
        let model = request["model"].as_str().unwrap_or_default().to_owned();
        let tool_ids =
            blocks.iter().map(|_| format!("toolu_{:.24}", random.uuid().simple().to_string())).collect();
        Self {
            twin,
            model,
            id,
            input,
            blocks,
            tool_ids,
            thinks,
            stop_reason,
            how,
            first_token,
            between,
            random,
        }
    }

    fn usage(&self, output: u64) -> Value {
        let Input { fresh, written, written_for_long, read, .. } = &self.input;
        json!({
            "input_tokens": fresh, "cache_creation_input_tokens": written + written_for_long, "cache_read_input_tokens": read,
            "cache_creation": { "ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": written_for_long },
            "output_tokens": output, "service_tier": "standard",
        })
    }

    /// Why it stopped; a refusal says more.
    fn stop(&self) -> Value {
        let mut stop = json!({ "stop_reason": self.stop_reason, "stop_sequence": null });
        if self.stop_reason == "refusal" {
            stop["stop_details"] = json!({ "type": "refusal", "category": null, "explanation": "The twin was told to decline." });
        }
        stop
    }

    /// A refusal before any output costs nothing.
    fn billed(&self) -> Input {
        if self.stop_reason == "refusal" { Input::default() } else { self.input.clone() }
    }

    fn block(&self, n: usize, said: &Said) -> Value {
        match said {
            Said::Thinking(text) => {
                let shown = if self.thinks == Thinks::Omitted { "" } else { text };
                json!({ "type": "thinking", "thinking": shown, "signature": SIGNATURE })
            }
            Said::Text(text) => json!({ "type": "text", "text": text }),
            Said::Tool { name, input } => {
                json!({ "type": "tool_use", "id": self.tool_ids[n], "name": name, "input": input })
            }
        }
    }

    /// A block before its deltas.
    fn empty_block(&self, n: usize, said: &Said) -> Value {
        let mut block = self.block(n, said);
        match said {
            Said::Thinking(_) => (block["thinking"], block["signature"]) = (json!(""), json!("")),
            Said::Text(_) => block["text"] = json!(""),
            Said::Tool { .. } => block["input"] = json!({}),
        }
        block
    }

    fn message(&self, content: &Value, stop_reason: &Value, output: u64) -> Value {
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop_reason, "stop_sequence": null, "usage": self.usage(output),
        })
    }

    /// The whole answer at once.
    pub(super) async fn into_json(self) -> Response<Body> {
        let output: u64 = self.blocks.iter().map(tokens_of).sum();
        tokio::time::sleep(self.first_token).await;
        self.twin.begin(&self.input);
        tokio::time::sleep(self.between * u32::try_from(output).unwrap_or(u32::MAX)).await;
        let content: Vec<Value> =
            self.blocks.iter().enumerate().map(|(n, said)| self.block(n, said)).collect();
        self.twin.book(&self.billed(), output, true);
        let mut message = self.message(&json!(content), &Value::Null, output);
        for (name, value) in self.stop().as_object().into_iter().flatten() {
            message[name] = value.clone();
        }
        serve::json(StatusCode::OK, &message)
    }

    fn events(&self) -> VecDeque<Timed> {
        let mut events = VecDeque::new();
        let mut add = |after, event, tokens| events.push_back(Timed { after, event, tokens });
        let now = Duration::ZERO;
        add(
            self.first_token,
            json!({ "type": "message_start", "message": self.message(&json!([]), &Value::Null, 1) }),
            0,
        );
        let mut output = 0;
        for (n, said) in self.blocks.iter().enumerate() {
            let start = self.empty_block(n, said);
            add(now, json!({ "type": "content_block_start", "index": n, "content_block": start }), 0);
            if n == 0 {
                add(now, json!({ "type": "ping" }), 0);
            }
            // Thoughts that are kept back pass as a pause before their signature.
            let kept_back = matches!(said, Said::Thinking(_)) && self.thinks == Thinks::Omitted;
            let mut pause = if n == 0 { now } else { self.between };
            let mut tokens = 0;
            for piece in pieces(said) {
                (output, tokens) = (output + 1, tokens + 1);
                if kept_back {
                    pause += self.between;
                } else {
                    add(pause, json!({ "type": "content_block_delta", "index": n, "delta": piece }), 1);
                    (pause, tokens) = (self.between, 0);
                }
            }
            if matches!(said, Said::Thinking(_)) {
                let delta = json!({ "type": "signature_delta", "signature": SIGNATURE });
                let pause = if kept_back { pause } else { now };
                add(pause, json!({ "type": "content_block_delta", "index": n, "delta": delta }), tokens);
            }
            add(now, json!({ "type": "content_block_stop", "index": n }), 0);
        }
        let usage = json!({
            "output_tokens": output, "output_tokens_details": { "thinking_tokens": self.thinking_tokens() },
        });
        add(now, json!({ "type": "message_delta", "delta": self.stop(), "usage": usage }), 0);
        add(now, json!({ "type": "message_stop" }), 0);
        self.break_off(&mut events);
        events
    }

    fn thinking_tokens(&self) -> u64 {
        self.blocks.iter().filter(|said| matches!(said, Said::Thinking(_))).map(tokens_of).sum()
    }

    /// After the first words.
    fn break_off(&self, events: &mut VecDeque<Timed>) {
        const FIRST_WORDS: usize = 6;
        let error =
            json!({ "type": "error", "error": { "type": "overloaded_error", "message": "Overloaded" } });
        match self.how {
            Some(Break::Error) => {
                events.truncate(FIRST_WORDS);
                events.push_back(Timed { after: Duration::ZERO, event: error, tokens: 0 });
            }
            Some(Break::Cut) => events.truncate(FIRST_WORDS),
            Some(Break::Mute) => {
                events.truncate(FIRST_WORDS);
                events.push_back(Timed {
                    after: Duration::from_secs(u32::MAX.into()),
                    event: error,
                    tokens: 0,
                });
            }
            Some(Break::Refusal) | None => {}
        }
    }

    /// The answer as a body of server-sent events.
    pub(super) fn into_body(self, connection: Arc<Connection>) -> Body {
        let events = self.events();
        // An answer that the twin breaks off itself was not aborted by its reader; one that goes
        // mute is, as soon as the reader gives up.
        let broken = matches!(self.how, Some(Break::Error | Break::Cut));
        let sending = Sending {
            booked: Booked { twin: self.twin.clone(), input: self.billed(), output: 0, whole: broken },
            ragged: self.twin.0.config.ragged,
            line_end: if self.twin.0.config.crlf { "\r\n" } else { "\n" },
            random: self.random,
            connection,
            events,
            pieces: VecDeque::new(),
        };
        let frames = stream::unfold(sending, |mut sending| async move {
            sending.next().await.map(|frame| (Ok(frame), sending))
        });
        StreamBody::new(frames).map_err(|never: io::Error| never).boxed_unsync()
    }
}

struct Sending {
    events: VecDeque<Timed>,
    /// What is left of an event that was cut.
    pieces: VecDeque<Bytes>,
    ragged: bool,
    line_end: &'static str,
    random: Random,
    connection: Arc<Connection>,
    booked: Booked,
}

impl Sending {
    async fn next(&mut self) -> Option<Frame<Bytes>> {
        if let Some(piece) = self.pieces.pop_front() {
            // Apart in time, or the network would join them again.
            tokio::task::yield_now().await;
            return Some(Frame::data(piece));
        }
        let Some(Timed { after, event, tokens }) = self.events.pop_front() else {
            self.booked.whole = true;
            return None;
        };
        if !after.is_zero() {
            tokio::time::sleep(after).await;
        }
        if event["type"] == "message_start" {
            self.booked.twin.begin(&self.booked.input);
        }
        self.booked.output += tokens;
        let end = self.line_end;
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        let text = self.connection.outgoing(format!("event: {name}{end}data: {event}{end}{end}"));
        let mut bytes = Bytes::from(text);
        if self.ragged {
            while bytes.len() > 1 {
                let cut = 1 + usize::try_from(self.random.below(bytes.len() as u64)).unwrap_or(0);
                self.pieces.push_back(bytes.split_to(cut));
            }
            self.pieces.push_back(bytes);
            self.pieces.retain(|piece| !piece.is_empty());
            return self.pieces.pop_front().map(Frame::data);
        }
        Some(Frame::data(bytes))
    }
}

/// Books an answer when it is over, read to its end or not.
struct Booked {
    twin: Anthropic,
    input: Input,
    output: u64,
    whole: bool,
}

impl Drop for Booked {
    fn drop(&mut self) {
        self.twin.book(&self.input, self.output, self.whole);
    }
}

fn tokens_of(said: &Said) -> u64 {
    pieces(said).len() as u64
}

/// The deltas of a block: a word of text, or some characters of a tool's input.
fn pieces(said: &Said) -> Vec<Value> {
    match said {
        Said::Thinking(text) => {
            words(text).map(|word| json!({ "type": "thinking_delta", "thinking": word })).collect()
        }
        Said::Text(text) => words(text).map(|word| json!({ "type": "text_delta", "text": word })).collect(),
        Said::Tool { input, .. } => {
            const PIECE: usize = 7;
            let text: Vec<char> = input.to_string().chars().collect();
            let piece = |chars: &[char]| json!({ "type": "input_json_delta", "partial_json": chars.iter().collect::<String>() });
            std::iter::once(piece(&[])).chain(text.chunks(PIECE).map(piece)).collect()
        }
    }
}

/// What the twin thinks where it is asked to.
const THOUGHTS: &str =
    "The user wants a short answer, so I look for the rule that fits and say no more than it does.";
/// Opaque to clients, who send it back as it is.
const SIGNATURE: &str = "dHdpbg==";

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

/// The first words that fit; a tool call that does not fit is left out.
fn cut_to(blocks: Vec<Said>, budget: u64) -> Vec<Said> {
    let mut left = usize::try_from(budget).unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    for said in blocks {
        let (Said::Thinking(text) | Said::Text(text)) = &said else { break };
        let text: String = words(text).take(left).collect();
        left -= words(&text).count();
        if !text.is_empty() {
            kept.push(if matches!(said, Said::Text(_)) { Said::Text(text) } else { Said::Thinking(text) });
        }
    }
    kept
}
