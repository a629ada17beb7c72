//! One answer on its way out: events at the pace of the profile, cut where a network would cut them.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http::StatusCode;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};

use super::{Anthropic, Break, Input, Said};
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
        if how == Some(Break::Refusal) {
            (blocks, stop_reason) = (Vec::new(), "refusal");
        }
        if budget < blocks.iter().map(tokens_of).sum() {
            stop_reason = "max_tokens";
            blocks = cut_to(blocks, budget);
        }
        let id = format!("msg_{}", random.uuid().simple());
        let model = request["model"].as_str().unwrap_or_default().to_owned();
        Self { twin, model, id, input, blocks, stop_reason, how, first_token, between, random }
    }

    fn usage(&self, output: u64) -> Value {
        json!({
            "input_tokens": self.input.fresh, "cache_creation_input_tokens": self.input.written,
            "cache_read_input_tokens": self.input.read, "output_tokens": output, "service_tier": "standard",
        })
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
        tokio::time::sleep(self.first_token + self.between * u32::try_from(output).unwrap_or(u32::MAX)).await;
        let content: Vec<Value> = self.blocks.iter().enumerate().map(|(n, said)| block(n, said)).collect();
        self.twin.book(self.input, output, true);
        serve::json(StatusCode::OK, &self.message(&json!(content), &json!(self.stop_reason), output))
    }

    fn events(&self) -> VecDeque<Timed> {
        let mut events = VecDeque::new();
        let mut add = |after, event, tokens| events.push_back(Timed { after, event, tokens });
        let now = Duration::ZERO;
        add(
            self.first_token,
            json!({ "type": "message_start", "message": self.message(&json!([]), &Value::Null, 1) }),
            1,
        );
        let mut output = 1;
        for (n, said) in self.blocks.iter().enumerate() {
            let start = match said {
                Said::Text(_) => json!({ "type": "text", "text": "" }),
                Said::Tool { .. } => {
                    let mut start = block(n, said);
                    start["input"] = json!({});
                    start
                }
            };
            add(now, json!({ "type": "content_block_start", "index": n, "content_block": start }), 0);
            if n == 0 {
                add(now, json!({ "type": "ping" }), 0);
            }
            for (piece, delta) in pieces(said).into_iter().zip(0u64..) {
                let after = if delta == 0 && n == 0 { now } else { self.between };
                output += 1;
                add(after, json!({ "type": "content_block_delta", "index": n, "delta": piece }), 1);
            }
            add(now, json!({ "type": "content_block_stop", "index": n }), 0);
        }
        let delta = json!({ "stop_reason": self.stop_reason, "stop_sequence": null });
        add(now, json!({ "type": "message_delta", "delta": delta, "usage": { "output_tokens": output } }), 0);
        add(now, json!({ "type": "message_stop" }), 0);
        self.break_off(&mut events);
        events
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
        let broken = matches!(self.how, Some(Break::Error | Break::Cut | Break::Mute));
        let sending = Sending {
            booked: Booked { twin: self.twin.clone(), input: self.input, output: 0, whole: broken },
            ragged: self.twin.0.config.ragged,
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
        self.booked.output += tokens;
        let name = event["type"].as_str().unwrap_or_default().to_owned();
        let text = self.connection.outgoing(format!("event: {name}\ndata: {event}\n\n"));
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
        self.twin.book(self.input, self.output, self.whole);
    }
}

fn tokens_of(said: &Said) -> u64 {
    pieces(said).len() as u64
}

/// The deltas of a block: a word of text, or some characters of a tool's input.
fn pieces(said: &Said) -> Vec<Value> {
    match said {
        Said::Text(text) => {
            text.split_inclusive(' ').map(|word| json!({ "type": "text_delta", "text": word })).collect()
        }
        Said::Tool { input, .. } => {
            const PIECE: usize = 7;
            let text: Vec<char> = input.to_string().chars().collect();
            let piece = |chars: &[char]| json!({ "type": "input_json_delta", "partial_json": chars.iter().collect::<String>() });
            std::iter::once(piece(&[])).chain(text.chunks(PIECE).map(piece)).collect()
        }
    }
}

fn block(n: usize, said: &Said) -> Value {
    match said {
        Said::Text(text) => json!({ "type": "text", "text": text }),
        Said::Tool { name, input } => {
            json!({ "type": "tool_use", "id": format!("toolu_{n:024}"), "name": name, "input": input })
        }
    }
}

/// The first words that fit; a tool call that does not fit is left out.
fn cut_to(blocks: Vec<Said>, budget: u64) -> Vec<Said> {
    let mut left = usize::try_from(budget).unwrap_or(usize::MAX);
    let mut kept = Vec::new();
    for said in blocks {
        let text = match &said {
            Said::Text(text) => text.split_inclusive(' ').take(left).collect::<String>(),
            Said::Tool { .. } => break,
        };
        left -= text.split_inclusive(' ').count();
        if !text.is_empty() {
            kept.push(Said::Text(text));
        }
    }
    kept
}
