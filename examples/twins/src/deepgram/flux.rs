//! One stream of `/v2/listen`.
//!
//! The model's confidence that the turn has ended is a curve of the silence since the last sound;
//! it passes the default threshold of 0.7 after a quarter of a second, which is what the provider
//! says of its own.

use std::{collections::VecDeque, time::Duration};

use futures_util::FutureExt;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{
    Meter,
    hearing::Words,
    intake::{Due, Intake, first_due, seconds},
    query::{self, Thresholds, check_keyterms},
};
use crate::{
    random::Random,
    serve::{Gone, Received, Socket},
    tones::Word,
};

/// Seconds of audio between updates.
const UPDATE_EVERY: f64 = 0.25;
/// Seconds of silence that raise the confidence to 63 %.
const CONFIDENCE_RISE: f64 = 0.2;
/// Natural ends stay below certainty, so that a threshold of 1.0 turns them off.
const MOST_CONFIDENT: f64 = 0.99;

pub(super) struct Session {
    socket: Socket,
    intake: Intake,
    thresholds: Thresholds,
    keyterms: Vec<String>,
    language_hints: Vec<String>,
    random: Random,
    queue: VecDeque<Due<Event>>,
    active_at: Instant,
    sequence_id: u64,
    state: State,
    /// Words of the turn that was last announced.
    words: Vec<Word>,
    /// Whether the turn that is heard has words; words come later than this from some recognisers.
    understood: bool,
    turn_index: u64,
    window_start: f64,
    update_at: f64,
    closing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Initial,
    Ongoing,
    /// `EagerEndOfTurn` was told when the last sound was at this time.
    AwaitingEnd {
        last_loud: f64,
    },
}

enum Event {
    Turn { name: &'static str, clock: f64, confidence: f64, trigger: Option<&'static str> },
    Close,
}

enum Flow {
    On,
    End,
}

impl Session {
    pub(super) fn new(socket: Socket, meter: Meter, asked: query::Flux, random: Random) -> Self {
        Self {
            socket,
            intake: Intake::new(meter, asked.encoding.as_deref(), asked.rate, 1),
            thresholds: asked.thresholds,
            keyterms: asked.keyterms,
            language_hints: asked.language_hints,
            random,
            queue: VecDeque::new(),
            active_at: Instant::now(),
            sequence_id: 0,
            state: State::Initial,
            words: Vec::new(),
            understood: false,
            turn_index: 0,
            window_start: 0.0,
            update_at: UPDATE_EVERY,
            closing: false,
        }
    }

    pub(super) async fn run(mut self) {
        let connected = json!({"type": "Connected", "request_id": self.intake.meter.request_id.to_string()});
        if self.send(connected).await.is_err() {
            return;
        }
        loop {
            let paused = Instant::now() < self.intake.read_after;
            let active_at = self.socket.pinged_at().map_or(self.active_at, |ping| ping.max(self.active_at));
            let silent_until = active_at + self.intake.meter.config().flux_idle_timeout;
            let flow = tokio::select! {
                biased;
                words = first_due(&mut self.queue) => self.emit(words).await,
                received = self.socket.recv(), if !paused && !self.closing => self.receive(received).await,
                () = sleep_until(self.intake.read_after), if paused => Ok(Flow::On),
                () = sleep_until(silent_until), if !paused && !self.closing => {
                    // A ping that came meanwhile moved the deadline.
                    if self.socket.pinged_at().is_none_or(|ping| ping <= active_at) {
                        self.socket.close(1011, "No audio or message was received within the timeout window.").await;
                        return;
                    }
                    Ok(Flow::On)
                }
            };
            if !matches!(flow, Ok(Flow::On)) {
                return;
            }
        }
    }

    async fn receive(&mut self, received: Received) -> Result<Flow, Gone> {
        self.active_at = Instant::now();
        match received {
            Received::Closed => return Ok(Flow::End),
            Received::Binary(bytes) => {
                if self.intake.accept(&bytes).is_err() {
                    return self.fail("UNSUPPORTED_AUDIO", "The audio could not be decoded.").await;
                }
                while let Some(begins) = self.intake.ear.step() {
                    self.decide(begins);
                }
            }
            Received::Text(text) => {
                let message: Value = serde_json::from_str(&text).unwrap_or_default();
                match message["type"].as_str() {
                    Some("Configure") => self.configure(&message).await?,
                    Some("ForceEndTurn") => {
                        self.intake.meter.count(|stream| stream.finalizes += 1);
                        if self.state != State::Initial {
                            self.end_turn("manual");
                        }
                    }
                    Some("CloseStream") => {
                        if self.state != State::Initial {
                            let words = self.finish();
                            self.push(Instant::now(), words, "Update", None);
                        }
                        let words = std::future::ready(Vec::new()).boxed();
                        self.queue.push_back(Due { at: Instant::now(), words, what: Event::Close });
                        self.closing = true;
                    }
                    _ => {
                        return self
                            .fail("UNPARSABLE_CLIENT_MESSAGE", "The message was not understood.")
                            .await;
                    }
                }
            }
        }
        Ok(Flow::On)
    }

    async fn fail(&mut self, code: &str, description: &str) -> Result<Flow, Gone> {
        self.send(json!({"type": "Error", "code": code, "description": description})).await?;
        self.socket.close(1008, description).await;
        Ok(Flow::End)
    }

    /// What the next block of audio means for the turn.
    fn decide(&mut self, begins: bool) {
        let clock = self.intake.ear.clock();
        let silence = self.intake.ear.silence();
        let confidence = self.confidence();
        let now = Instant::now();
        self.understood |= self.state != State::Initial && self.intake.ear.recogniser.has_words();
        match self.state {
            State::Initial if begins => {
                self.window_start = self.intake.ear.speech_start.unwrap_or(clock);
                self.state = State::Ongoing;
                self.push_known(now, "StartOfTurn");
            }
            State::AwaitingEnd { last_loud } if self.intake.ear.last_loud > last_loud => {
                self.state = State::Ongoing;
                self.push_known(now, "TurnResumed");
            }
            State::Ongoing | State::AwaitingEnd { .. } => {
                let timeout = Duration::from_millis(self.thresholds.timeout_ms).as_secs_f64();
                // Noise has no words; only the timeout ends a turn that is nothing else.
                let natural = confidence >= self.thresholds.end && self.understood;
                if natural || silence >= timeout {
                    return self.end_turn(if natural { "model" } else { "timeout" });
                }
                let eager = self.thresholds.eager.is_some_and(|eager| confidence >= eager);
                if eager && self.state == State::Ongoing && self.understood {
                    self.state = State::AwaitingEnd { last_loud: self.intake.ear.last_loud };
                    self.intake.ear.resumes = true;
                    let words = self.finish();
                    return self.push(now, words, "EagerEndOfTurn", None);
                }
            }
            State::Initial => {}
        }
        if clock >= self.update_at {
            self.push_known(now, "Update");
        }
    }

    fn confidence(&self) -> f64 {
        (1.0 - (-self.intake.ear.silence() / CONFIDENCE_RISE).exp()).min(MOST_CONFIDENT)
    }

    fn end_turn(&mut self, trigger: &'static str) {
        let after_speech =
            self.intake.meter.twin.0.host.latency().final_after_speech.sample(&mut self.random);
        let at = (self.intake.ear.last_loud_at + after_speech).max(Instant::now());
        let words = self.finish();
        self.push(at, words, "EndOfTurn", Some(trigger));
        self.state = State::Initial;
        self.understood = false;
        self.intake.ear.resumes = false;
    }

    /// Ends the utterance under way; where the user talks on, the next begins at once.
    fn finish(&mut self) -> Words {
        let ear = &mut self.intake.ear;
        ear.speech_start = None;
        ear.recogniser.finish(ear.last_loud)
    }

    /// Announces something with the words known by then.
    fn push_known(&mut self, at: Instant, name: &'static str) {
        let words = std::future::ready(self.intake.ear.recogniser.take()).boxed();
        self.push(at, words, name, None);
    }

    fn push(&mut self, at: Instant, words: Words, name: &'static str, trigger: Option<&'static str>) {
        let (clock, confidence) = (self.intake.ear.clock(), self.confidence());
        self.update_at = clock + UPDATE_EVERY;
        self.queue.push_back(Due { at, words, what: Event::Turn { name, clock, confidence, trigger } });
    }

    async fn emit(&mut self, words: Vec<Word>) -> Result<Flow, Gone> {
        let Some(due) = self.queue.pop_front() else { return Ok(Flow::On) };
        self.words.extend(words);
        let Event::Turn { name, clock, confidence, trigger } = due.what else {
            self.socket.close(1000, "").await;
            return Ok(Flow::End);
        };
        let mut transcript: Vec<&str> = self.words.iter().map(|word| word.text.as_str()).collect();
        let interim = self.intake.ear.recogniser.heard();
        if name == "Update" && self.words.is_empty() {
            transcript.extend(interim.iter().map(|word| word.text.as_str()));
        }
        let words: Vec<Value> = self
            .words
            .iter()
            .map(|word| {
                json!({
                    "word": word.text,
                    "confidence": 0.99,
                    "start": seconds(word.start),
                    "end": seconds(word.end),
                })
            })
            .collect();
        let mut info = json!({
            "type": "TurnInfo",
            "request_id": self.intake.meter.request_id.to_string(),
            "event": name,
            "turn_index": self.turn_index,
            "audio_window_start": seconds(self.window_start),
            "audio_window_end": seconds(clock),
            "transcript": transcript.join(" "),
            "words": words,
            "end_of_turn_confidence": seconds(confidence),
        });
        if let Some(trigger) = trigger {
            info["trigger"] = json!(trigger);
            self.turn_index += 1;
            self.window_start = clock;
            self.words.clear();
        }
        self.send(info).await?;
        Ok(Flow::On)
    }

    async fn configure(&mut self, message: &Value) -> Result<(), Gone> {
        let id = self.intake.meter.request_id.to_string();
        let reply = match self.reconfigured(message) {
            Ok(()) => json!({
                "type": "ConfigureSuccess",
                "request_id": id,
                "thresholds": {
                    "eot_threshold": self.thresholds.end,
                    "eager_eot_threshold": self.thresholds.eager,
                    "eot_timeout_ms": self.thresholds.timeout_ms,
                },
                "keyterms": self.keyterms,
                "language_hints": self.language_hints,
            }),
            Err(description) => json!({
                "type": "ConfigureFailure",
                "request_id": id,
                "error_code": "INVALID_CONFIGURATION",
                "description": description,
            }),
        };
        self.send(reply).await
    }

    fn reconfigured(&mut self, message: &Value) -> Result<(), query::Invalid> {
        let asked = &message["thresholds"];
        let number = |name: &str, current: Option<f64>| match &asked[name] {
            Value::Null => Ok(current),
            value => value.as_f64().map(Some).ok_or_else(|| format!("{name} is not a number")),
        };
        let thresholds = Thresholds {
            end: number("eot_threshold", Some(self.thresholds.end))?.unwrap_or(self.thresholds.end),
            eager: number("eager_eot_threshold", self.thresholds.eager)?,
            timeout_ms: number("eot_timeout_ms", Some(self.thresholds.timeout_ms as f64))?
                .map_or(self.thresholds.timeout_ms, |millis| millis as u64),
        }
        .check()?;
        let strings = |name: &str, current: &Vec<String>| match &message[name] {
            Value::Null => Ok(current.clone()),
            value => {
                serde_json::from_value(value.clone()).map_err(|_| format!("{name} is not a list of strings"))
            }
        };
        let keyterms = strings("keyterms", &self.keyterms)?;
        check_keyterms(&keyterms)?;
        let language_hints = strings("language_hints", &self.language_hints)?;
        self.thresholds = thresholds;
        self.keyterms = keyterms;
        self.language_hints = language_hints;
        Ok(())
    }

    async fn send(&mut self, mut message: Value) -> Result<(), Gone> {
        message["sequence_id"] = json!(self.sequence_id);
        self.sequence_id += 1;
        self.socket.send(message.to_string()).await
    }
}
