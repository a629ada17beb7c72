//! One stream of `/v1/listen`.

use std::{collections::VecDeque, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Finalize, Meter,
    ear::BLOCK,
    hearing::Words,
    intake::{Due, Intake, first_due, seconds},
    query::{self, check_keyterms},
};
use crate::{
    connection::lock,
    random::Random,
    serve::{Gone, Received, Socket},
    tones::Word,
};

const NET_0001: &str = "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001";
const DATA_0000: &str = "Deepgram could not decode the audio. See https://dpgr.am/data0000";
/// The shortest silence that ends an utterance, in seconds.
const SHORTEST_ENDPOINT: f64 = 0.150;
pub(super) const MODEL_UUID: &str = "40bd3654-e622-47c4-a111-63a61b23bfe8";

pub(super) struct Session {
    socket: Socket,
    intake: Intake,
    asked: query::Listen,
    keyterms: Vec<String>,
    random: Random,
    queue: VecDeque<Due<What>>,
    opened: Instant,
    active_at: Instant,
    had_audio: bool,
    /// Where the span begins that is not final yet.
    span_start: f64,
    interim_at: f64,
    /// Whether words came since the last `UtteranceEnd`.
    has_words: bool,
    /// Whether `UtteranceEnd` is due once its silence has passed.
    utterance_open: bool,
    closing: bool,
}

enum What {
    Final { start: f64, end: f64, speech_final: bool, from_finalize: bool },
    UtteranceEnd { last_word_end: f64 },
    Metadata,
    Close { code: u16 },
}

enum Flow {
    On,
    End,
}

impl Session {
    pub(super) fn new(socket: Socket, meter: Meter, asked: query::Listen, random: Random) -> Self {
        let now = Instant::now();
        let intake = Intake::new(meter, asked.encoding.as_deref(), asked.rate, asked.channels);
        let interim_at = intake.meter.config().interim_every;
        Self {
            socket,
            intake,
            keyterms: asked.keyterms.clone(),
            asked,
            random,
            queue: VecDeque::new(),
            opened: now,
            active_at: now,
            had_audio: false,
            span_start: 0.0,
            interim_at,
            has_words: false,
            utterance_open: false,
            closing: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let paused = Instant::now() < self.intake.read_after;
            let silent_until = self.silent_until();
            let flow = tokio::select! {
                biased;
                words = first_due(&mut self.queue) => self.emit(words).await,
                received = self.socket.recv(), if !paused && !self.closing => self.receive(received).await,
                () = sleep_until(self.intake.read_after), if paused => Ok(Flow::On),
                () = sleep_until(silent_until), if !paused && !self.closing => {
                    self.socket.close(1011, NET_0001).await;
                    return;
                }
            };
            if !matches!(flow, Ok(Flow::On)) {
                return;
            }
        }
    }

    fn silent_until(&self) -> Instant {
        let config = self.intake.meter.config();
        let virgin = !self.had_audio && !config.keep_alive_holds_virgin;
        (if virgin { self.opened } else { self.active_at }) + config.idle_timeout
    }

    async fn receive(&mut self, received: Received) -> Result<Flow, Gone> {
        self.active_at = Instant::now();
        match received {
            Received::Closed => return Ok(Flow::End),
            Received::Binary(bytes) if bytes.is_empty() => {
                let code = self.intake.meter.config().empty_audio_close;
                self.finish_and_close(code);
            }
            Received::Binary(bytes) => {
                self.had_audio = true;
                if self.intake.accept(&bytes).is_err() {
                    self.socket.close(1008, DATA_0000).await;
                    return Ok(Flow::End);
                }
                self.hear().await?;
            }
            Received::Text(text) => return self.control(&text).await,
        }
        Ok(Flow::On)
    }

    async fn control(&mut self, text: &str) -> Result<Flow, Gone> {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        match message["type"].as_str() {
            Some("KeepAlive") => self.intake.meter.count(|stream| stream.keep_alives += 1),
            Some("Finalize") => {
                self.intake.meter.count(|stream| stream.finalizes += 1);
                self.finalize();
            }
            Some("CloseStream") => self.finish_and_close(1000),
            Some("Configure") => self.configure(&message).await?,
            _ if self.intake.meter.config().strict_text => {
                self.socket.close(1008, "Could not parse the text message.").await;
                return Ok(Flow::End);
            }
            _ => tracing::debug!("ignored a text message"),
        }
        Ok(Flow::On)
    }

    async fn configure(&mut self, message: &Value) -> Result<(), Gone> {
        let id = self.intake.meter.request_id.to_string();
        let terms = match &message["keyterms"] {
            Value::Null => Some(self.keyterms.clone()),
            Value::Array(terms) => terms.iter().map(|term| term.as_str().map(str::to_owned)).collect(),
            _ => None,
        };
        let reply = match terms.filter(|terms| check_keyterms(terms).is_ok()) {
            Some(terms) => {
                self.keyterms.clone_from(&terms);
                json!({"type": "ConfigureSuccess", "request_id": id, "keyterms": terms})
            }
            None => json!({"type": "ConfigureFailure", "request_id": id}),
        };
        self.socket.send(reply.to_string()).await
    }

    async fn hear(&mut self) -> Result<(), Gone> {
        while let Some(begins) = self.intake.ear.step() {
            let clock = self.intake.ear.clock();
            if begins {
                self.utterance_open = true;
                if self.asked.vad_events {
                    let timestamp = seconds(self.intake.ear.speech_start.unwrap_or(clock));
                    let started = json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": timestamp});
                    self.socket.send(started.to_string()).await?;
                }
            }
            let silence = self.intake.ear.silence();
            let endpoint = self.asked.endpointing.map(|asked| asked.max(SHORTEST_ENDPOINT));
            if self.intake.ear.speech_start.is_some()
                && endpoint.is_some_and(|endpoint| silence + BLOCK / 2.0 >= endpoint)
            {
                let at = self.intake.ear.last_loud_at + self.after_speech();
                let words = self.end_utterance();
                self.push_final(at, words, clock, true, false);
            } else {
                let long = clock - self.span_start >= self.intake.meter.config().final_every;
                let made_final = long && self.finalize_span(clock);
                if !made_final && (clock >= self.interim_at || self.intake.ear.recogniser.take_news()) {
                    self.interim(clock).await?;
                }
            }
            let ended = self.asked.utterance_end.is_some_and(|after| silence + BLOCK / 2.0 >= after);
            if self.utterance_open && ended {
                self.utterance_open = false;
                let what = What::UtteranceEnd { last_word_end: self.intake.ear.last_loud };
                self.push(Instant::now(), nothing(), what);
            }
        }
        Ok(())
    }

    /// Makes what was understood of a long span final, up to its last complete word; the rest is
    /// sent again with the next span. Answers whether there was anything.
    fn finalize_span(&mut self, clock: f64) -> bool {
        let words = self.intake.ear.recogniser.take();
        let speaking = self.intake.ear.speech_start.is_some();
        match (words.last(), speaking) {
            (Some(last), _) => {
                let end = if speaking { last.end } else { clock };
                self.push_final(Instant::now(), std::future::ready(words).boxed(), end, false, false);
            }
            (None, false) => self.push_final(Instant::now(), nothing(), clock, false, false),
            // Speech without a complete word: the span goes on until there is one.
            (None, true) => return false,
        }
        true
    }

    async fn interim(&mut self, clock: f64) -> Result<(), Gone> {
        self.interim_at = clock + self.intake.meter.config().interim_every;
        // While a final is on its way, what it covers must not be told again after it.
        if self.asked.interim_results && self.queue.is_empty() {
            let words = self.intake.ear.recogniser.heard();
            let results = self.results(&words, self.span_start, clock, [false; 3]);
            self.socket.send(results).await?;
        }
        Ok(())
    }

    fn finalize(&mut self) {
        let how = *lock(&self.intake.meter.twin.0.finalize);
        if how == Finalize::Nothing {
            return;
        }
        let late = if let Finalize::Late(by) = how { by } else { Duration::ZERO };
        let flush = self.flush();
        let spoken = self.intake.ear.last_loud_at + self.after_speech();
        let open = self.intake.ear.speech_start.is_some();
        let ready = Instant::now() + flush;
        let at = if open { ready.max(spoken) } else { ready } + late;
        let clock = self.intake.ear.clock();
        let mut words = self.end_utterance();
        if how == Finalize::Empty {
            self.push_final(at, words, clock, false, false);
            words = nothing();
        }
        self.push_final(at, words, clock, false, true);
    }

    fn finish_and_close(&mut self, code: u16) {
        let clock = self.intake.ear.clock();
        let at = Instant::now() + self.flush();
        if self.intake.ear.speech_start.is_some() || !self.intake.ear.recogniser.heard().is_empty() {
            let words = self.end_utterance();
            self.push_final(at, words, clock, false, false);
        }
        self.push(at, nothing(), What::Metadata);
        self.push(at, nothing(), What::Close { code });
        self.closing = true;
    }

    fn end_utterance(&mut self) -> Words {
        let ear = &mut self.intake.ear;
        ear.speech_start = None;
        ear.recogniser.finish(ear.last_loud)
    }

    fn push_final(&mut self, at: Instant, words: Words, end: f64, speech_final: bool, from_finalize: bool) {
        let start = std::mem::replace(&mut self.span_start, end);
        self.interim_at = end + self.intake.meter.config().interim_every;
        self.push(at, words, What::Final { start, end, speech_final, from_finalize });
    }

    fn push(&mut self, at: Instant, words: Words, what: What) {
        self.queue.push_back(Due { at, words, what });
    }

    async fn emit(&mut self, words: Vec<Word>) -> Result<Flow, Gone> {
        let Some(due) = self.queue.pop_front() else { return Ok(Flow::On) };
        match due.what {
            What::Final { start, end, speech_final, from_finalize } => {
                self.has_words |= !words.is_empty();
                let results = self.results(&words, start, end, [true, speech_final, from_finalize]);
                self.socket.send(results).await?;
            }
            What::UtteranceEnd { last_word_end } => {
                // Noise is no utterance, though it was loud.
                if std::mem::take(&mut self.has_words) || !self.intake.ear.recogniser.heard().is_empty() {
                    let last_word_end = seconds(last_word_end);
                    let end =
                        json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last_word_end});
                    self.socket.send(end.to_string()).await?;
                }
            }
            What::Metadata => {
                let metadata = self.metadata();
                self.socket.send(metadata).await?;
            }
            What::Close { code } => {
                self.socket.close(code, "").await;
                return Ok(Flow::End);
            }
        }
        Ok(Flow::On)
    }

    fn results(&mut self, words: &[Word], start: f64, end: f64, flags: [bool; 3]) -> String {
        let alternative = alternative(words, self.asked.punctuate, &mut self.random);
        json!({
            "type": "Results",
            "channel_index": [0, 1],
            "start": seconds(start),
            "duration": seconds((end - start).max(0.0)),
            "is_final": flags[0],
            "speech_final": flags[1],
            "from_finalize": flags[2],
            "channel": {"alternatives": [alternative]},
            "metadata": {
                "request_id": self.intake.meter.request_id.to_string(),
                "model_info": self.model(),
                "model_uuid": MODEL_UUID,
            },
        })
        .to_string()
    }

    fn metadata(&self) -> String {
        let clock = self.intake.ear.clock();
        json!({
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.intake.meter.request_id.to_string(),
            "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "created": "2026-11-22T22:37:55.202Z",
            "duration": seconds(clock),
            "channels": if self.had_audio { self.asked.channels } else { 0 },
            "models": [MODEL_UUID],
            "model_info": {MODEL_UUID: self.model()},
        })
        .to_string()
    }

    fn model(&self) -> Value {
        model_info(&self.asked.model)
    }

    fn after_speech(&mut self) -> Duration {
        self.intake.meter.twin.0.host.latency().final_after_speech.sample(&mut self.random)
    }

    fn flush(&mut self) -> Duration {
        self.intake.meter.twin.0.host.latency().flush.sample(&mut self.random)
    }
}

fn nothing() -> Words {
    std::future::ready(Vec::new()).boxed()
}

pub(super) fn model_info(model: &str) -> Value {
    json!({"name": format!("general-{model}"), "version": "2025-07-31.0", "arch": model})
}

/// What was understood, as every kind of answer holds it.
pub(super) fn alternative(words: &[Word], punctuate: bool, random: &mut Random) -> Value {
    let spoken: Vec<(String, &Word)> =
        words.iter().map(|word| (plain(&word.text), word)).filter(|(plain, _)| !plain.is_empty()).collect();
    let transcript: Vec<&str> =
        spoken.iter().map(|(plain, word)| if punctuate { word.text.as_str() } else { plain }).collect();
    let mut confidence = || (random.between(0.97, 1.0) * 10_000.0).round() / 10_000.0;
    let words: Vec<Value> = spoken
        .iter()
        .map(|(plain, word)| {
            let mut value = json!({
                "word": plain,
                "start": seconds(word.start),
                "end": seconds(word.end),
                "confidence": confidence(),
            });
            if punctuate {
                value["punctuated_word"] = json!(word.text);
            }
            value
        })
        .collect();
    let confidence = if words.is_empty() { 0.0 } else { confidence() };
    json!({"transcript": transcript.join(" "), "confidence": confidence, "words": words})
}

/// A word as the provider prints it without punctuation.
fn plain(word: &str) -> String {
    word.trim_matches(|character: char| !character.is_alphanumeric()).to_lowercase()
}
