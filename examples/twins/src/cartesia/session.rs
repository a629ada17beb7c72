//! One socket and the contexts on it.

use std::collections::{BTreeMap, VecDeque};

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{
    StreamExt,
    future::{BoxFuture, FutureExt},
    stream::FuturesUnordered,
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Cancel, Cartesia, Config, Expired,
    context::{Context, Step},
    describe,
    request::{self, Generate, Message, Version},
    voice::Speech,
};
use crate::{
    random::Random,
    serve::{Gone, Received, Socket},
};

/// Expired contexts whose names are remembered.
const REMEMBERED: usize = 1000;

pub(super) struct Session {
    socket: Socket,
    twin: Cartesia,
    version: Version,
    random: Random,
    request_id: String,
    contexts: BTreeMap<String, Context>,
    /// Contexts so far.
    begun: u64,
    making: FuturesUnordered<BoxFuture<'static, Made>>,
    expired: VecDeque<String>,
    active_at: Instant,
}

struct Made {
    context_id: String,
    number: u64,
    speech: Option<Speech>,
    begun: Instant,
}

impl Session {
    pub(super) fn new(
        socket: Socket,
        twin: Cartesia,
        version: Version,
        random: Random,
        request_id: String,
    ) -> Self {
        Self {
            socket,
            twin,
            version,
            random,
            request_id,
            contexts: BTreeMap::new(),
            begun: 0,
            making: FuturesUnordered::new(),
            expired: VecDeque::new(),
            active_at: Instant::now(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let idle_at = self.active_at + self.config().idle_timeout;
            let due = self.due();
            let at = due.as_ref().map_or(idle_at, |(at, _)| *at);
            let done = tokio::select! {
                biased;
                received = self.socket.recv() => match received {
                    Received::Closed => return,
                    Received::Text(text) => self.receive(&text).await,
                    Received::Binary(_) => self.error(None, 400, "messages are JSON text").await,
                },
                Some(made) = self.making.next(), if !self.making.is_empty() => self.made(made).await,
                () = sleep_until(at), if due.is_some() => match due {
                    Some((_, context_id)) => self.step(&context_id).await,
                    None => Ok(()),
                },
                () = sleep_until(idle_at) => {
                    let code = self.config().idle_close;
                    return self.socket.close(code, "idle").await;
                }
            };
            if done.is_err() {
                return;
            }
        }
    }

    fn config(&self) -> &Config {
        &self.twin.0.config
    }

    /// The context that has something to do first.
    fn due(&self) -> Option<(Instant, String)> {
        let (speed, expiry, now) = (self.config().speed(), self.config().context_expiry, Instant::now());
        let due = self
            .contexts
            .iter()
            .filter_map(|(id, context)| context.due(speed, expiry, now).map(|at| (at, context.number, id)));
        due.min().map(|(at, _, id)| (at, id.clone()))
    }

    async fn receive(&mut self, text: &str) -> Result<(), Gone> {
        self.active_at = Instant::now();
        match request::parse(text, self.version) {
            Ok(Message::Generate(input)) => self.generate(&input).await,
            Ok(Message::Cancel { context_id }) => {
                let stop = self.config().cancel == Cancel::Stops;
                if let Some(context) = self.contexts.get_mut(&context_id) {
                    context.cancel(stop);
                }
                Ok(())
            }
            Err(invalid) => self.fail(invalid.context_id.as_deref(), 400, invalid.message).await,
        }
    }

    async fn generate(&mut self, input: &Generate) -> Result<(), Gone> {
        let id = &input.context_id;
        if !self.contexts.contains_key(id) {
            if self.config().expired == Expired::Refused && self.expired.contains(id) {
                return self.error(Some(id), 400, "the context has expired").await;
            }
            let Some(slot) = self.twin.slot(self.socket.connection().id(), id) else {
                return self.error(Some(id), 429, "").await;
            };
            self.begun += 1;
            self.contexts.insert(id.clone(), Context::new(slot, self.begun, input, Instant::now()));
        }
        let strict = self.config().strict_contexts;
        let taken = self.contexts.get_mut(id).map(|context| context.input(input, strict, Instant::now()));
        match taken {
            Some(Err(message)) => self.fail(Some(id), 400, message).await,
            _ => Ok(()),
        }
    }

    async fn step(&mut self, id: &str) -> Result<(), Gone> {
        let odd = self.config().odd_chunks;
        let Some(context) = self.contexts.get_mut(id) else { return Ok(()) };
        let Some(step) = context.step(&mut self.random, odd, Instant::now()) else { return Ok(()) };
        match step {
            Step::Make(text) => {
                let (number, rate) = (context.number, context.rate);
                if let Some(status) = self.twin.next_failure() {
                    return self.fail(Some(id), status, "").await;
                }
                self.twin.bill(text.chars().count() as u64);
                let begun = Instant::now() + self.twin.0.host.latency().first_audio.sample(&mut self.random);
                let context_id = id.to_owned();
                let speaking = self.config().voice.speak(&text, rate);
                let made = speaking.map(move |speech| Made { context_id, number, speech, begun });
                self.making.push(made.boxed());
                Ok(())
            }
            Step::Flushed(flush_id) => {
                let more = json!({"type": "flush_done", "flush_id": flush_id, "flush_done": true});
                self.send(id, false, more).await
            }
            Step::Words(words) => {
                let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                let starts: Vec<f64> = words.iter().map(|word| word.start).collect();
                let ends: Vec<f64> = words.iter().map(|word| word.end).collect();
                let words = json!({"words": texts, "start": starts, "end": ends});
                self.send(id, false, json!({"type": "timestamps", "word_timestamps": words})).await
            }
            Step::Chunk { data, flush_id } => {
                let step_time = (self.random.between(20.0, 80.0) * 100.0).round() / 100.0;
                let data = STANDARD.encode(data);
                let more =
                    json!({"type": "chunk", "data": data, "step_time": step_time, "flush_id": flush_id});
                self.send(id, false, more).await
            }
            Step::Done { expired } => {
                self.contexts.remove(id);
                if expired {
                    if self.expired.len() == REMEMBERED {
                        self.expired.pop_front();
                    }
                    self.expired.push_back(id.to_owned());
                }
                self.send(id, true, json!({"type": "done"})).await
            }
        }
    }

    async fn made(&mut self, made: Made) -> Result<(), Gone> {
        let context = self.contexts.get_mut(&made.context_id);
        let Some(context) = context.filter(|context| context.number == made.number) else { return Ok(()) };
        match made.speech {
            Some(speech) => {
                context.made(speech, made.begun);
                Ok(())
            }
            None => self.fail(Some(&made.context_id), 500, "").await,
        }
    }

    async fn send(&mut self, id: &str, done: bool, mut message: Value) -> Result<(), Gone> {
        message["context_id"] = id.into();
        message["done"] = done.into();
        message["status_code"] = 206.into();
        self.active_at = Instant::now();
        self.socket.send(message.to_string()).await
    }

    /// An error that ends its context.
    async fn fail(&mut self, id: Option<&str>, status: u16, message: &str) -> Result<(), Gone> {
        if let Some(id) = id {
            self.contexts.remove(id);
        }
        self.error(id, status, message).await
    }

    async fn error(&mut self, id: Option<&str>, status: u16, message: &str) -> Result<(), Gone> {
        let (title, usual, code) = describe(status);
        let message = if message.is_empty() { usual } else { message };
        let mut event = json!({"type": "error", "done": true, "status_code": status});
        if self.version.has_structured_errors() {
            event["error_code"] = code.into();
            event["title"] = title.into();
            event["message"] = message.into();
            event["request_id"] = format!("{}:{}", self.request_id, id.unwrap_or_default()).into();
        } else {
            event["error"] = format!("{title}: {message}").into();
        }
        if let Some(id) = id {
            event["context_id"] = id.into();
        }
        self.active_at = Instant::now();
        self.socket.send(event.to_string()).await
    }
}
