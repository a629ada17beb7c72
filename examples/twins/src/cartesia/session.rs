//! One socket: requests in, and the contexts' audio out as it falls due.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    Cartesia,
    context::{Context, Step},
};
use crate::{
    random::Random,
    serve::{Gone, Received, Socket},
};

const RATES: [u64; 6] = [8_000, 16_000, 22_050, 24_000, 44_100, 48_000];

pub(super) struct Session {
    twin: Cartesia,
    socket: Socket,
    random: Random,
    structured: bool,
    contexts: Vec<Context>,
    last_message: Instant,
}

impl Session {
    pub(super) fn new(twin: Cartesia, socket: Socket, random: Random, structured: bool) -> Self {
        Self { twin, socket, random, structured, contexts: Vec::new(), last_message: Instant::now() }
    }

    pub(super) async fn run(mut self) {
        loop {
            let now = Instant::now();
            let idle = self.last_message + self.twin.0.config.idle_timeout;
            let next = self.contexts.iter().enumerate().map(|(n, context)| (context.due(now), n)).min();
            let due = next.map_or(idle, |(due, _)| due.min(idle));
            let went = tokio::select! {
                biased;
                received = self.socket.recv() => {
                    self.last_message = Instant::now();
                    match received {
                        Received::Text(text) => self.request(&text).await,
                        Received::Binary(_) => self.fail(None, 400, "invalid_request", "Binary messages are not supported").await,
                        Received::Closed => return,
                    }
                }
                () = tokio::time::sleep_until(due) => match next {
                    Some((due, n)) if due < idle || due <= Instant::now() => self.step(n).await,
                    _ => return self.socket.close(1000, "idle").await,
                },
            };
            if went.is_err() {
                return;
            }
        }
    }

    async fn request(&mut self, text: &str) -> Result<(), Gone> {
        let Ok(request) = serde_json::from_str::<Value>(text) else {
            return self.fail(None, 400, "invalid_json", "The message is not valid JSON").await;
        };
        let Some(id) = request["context_id"].as_str().filter(|id| !id.is_empty()).map(str::to_owned) else {
            return self.fail(None, 400, "invalid_request", "context_id is required").await;
        };
        let known = self.contexts.iter().position(|context| context.id == id);
        if request["cancel"].as_bool() == Some(true) {
            if let Some(n) = known {
                self.contexts[n].cancel(self.twin.0.config.cancel_stops);
            }
            return Ok(());
        }
        if let Some(status) = self.twin.next_failure() {
            self.contexts.retain(|context| context.id != id);
            let code = if status == 429 { "concurrency_limited" } else { "injected" };
            return self.fail(Some(&id), status, code, "Too many concurrent requests").await;
        }
        let rate = match check(&request) {
            Ok(rate) => rate,
            Err(why) => return self.fail(Some(&id), 400, "invalid_request", why).await,
        };
        let mut fixed = request.clone();
        for free in ["transcript", "continue", "flush", "duration"] {
            fixed.as_object_mut().and_then(|fields| fields.remove(free));
        }
        let now = Instant::now();
        let n = match known {
            Some(n) if self.contexts[n].fixed != fixed => {
                return self
                    .fail(
                        Some(&id),
                        400,
                        "invalid_request",
                        "Only the transcript may change within a context",
                    )
                    .await;
            }
            Some(n) => n,
            None if self.contexts.len() >= self.twin.0.config.max_contexts => {
                return self
                    .fail(Some(&id), 429, "concurrency_limited", "Too many concurrent requests")
                    .await;
            }
            None => {
                self.contexts.push(Context::new(&id, fixed, &request, rate, &self.twin.0.config, now));
                self.contexts.len() - 1
            }
        };
        let transcript = request["transcript"].as_str().unwrap_or_default();
        self.twin.book(&id, transcript);
        let flag = |name: &str| request[name].as_bool().unwrap_or(false);
        self.contexts[n].input(now, transcript, flag("continue"), flag("flush"));
        Ok(())
    }

    async fn step(&mut self, n: usize) -> Result<(), Gone> {
        let config = self.twin.0.config.clone();
        let context = &mut self.contexts[n];
        match context.step(Instant::now(), &config, &mut self.random) {
            Step::Synthesize(text) => {
                let (samples, words) = config.voice.speak(&text, context.rate).await;
                let delay = config.profile.latency().first_audio.sample(&mut self.random);
                context.speak(Instant::now(), delay, &samples, words);
                Ok(())
            }
            Step::Send(messages) => self.send_all(messages).await,
            Step::Over(message) => {
                self.contexts.remove(n);
                self.send_all(message.into_iter().collect()).await
            }
        }
    }

    async fn send_all(&mut self, messages: Vec<Value>) -> Result<(), Gone> {
        for message in messages {
            self.socket.send(message.to_string()).await?;
        }
        Ok(())
    }

    async fn fail(
        &mut self,
        context: Option<&str>,
        status: u16,
        code: &str,
        message: &str,
    ) -> Result<(), Gone> {
        let mut error = if self.structured {
            let id = self.random.uuid().to_string();
            json!({
                "type": "error", "done": true, "status_code": status, "error_code": code, "title": title(status), "message": message,
                "request_id": id,
            })
        } else {
            json!({ "type": "error", "done": true, "status_code": status, "error": format!("{}: {message}", title(status)) })
        };
        if let Some(context) = context {
            error["context_id"] = json!(context);
        }
        self.socket.send(error.to_string()).await
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "Invalid request",
        429 => "Too many concurrent requests",
        _ => "Internal error",
    }
}

/// The sample rate of a request that has all it needs.
fn check(request: &Value) -> Result<u32, &'static str> {
    let text = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if !text(&request["model_id"]) {
        return Err("model_id is required");
    }
    if !request["transcript"].is_string() {
        return Err("transcript is required");
    }
    let voice = &request["voice"];
    if !(text(voice) || text(&voice["id"])) {
        return Err("voice is required");
    }
    let format = &request["output_format"];
    if format["container"] != "raw" || format["encoding"] != "pcm_s16le" {
        return Err("this output_format is not supported");
    }
    let rate = format["sample_rate"]
        .as_u64()
        .filter(|rate| RATES.contains(rate))
        .ok_or("this sample_rate is not supported")?;
    u32::try_from(rate).map_err(|_| "this sample_rate is not supported")
}
