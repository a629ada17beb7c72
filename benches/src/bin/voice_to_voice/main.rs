//! Voice to voice over TCP: real speech, played in real time to a running server as a browser
//! would, against twins in their own process.
//!
//! `cargo xtask bench voice_to_voice` builds the server and the twins and runs this. For each
//! profile (`zero`: the twins answer at once; `seed`: they take as long as real providers) and each
//! mode it plays at least 200 turns and prints p50, p95 and p99 of the silence that a listener
//! hears and of each of its parts. The parts are the server's own waterfall with the way up and the
//! way down added, placed on one clock by `ping` and `pong`; the last column of the first row tells
//! how far their sum is from the silence that was measured.
//!
//! With `--openers` the server says a sentence where an answer is late, which is no answer:
//! `voice to answer` is the time to the first word of the answer itself, where a player that plays
//! what comes at once would reach it.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::expect_used, clippy::unwrap_used)]

mod arguments;
mod processes;
mod report;

use std::{process::Command, time::Duration};

use clap::Parser;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::Instant};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use self::{
    arguments::Args,
    processes::{Server, TOKEN, Twins},
    report::{Turn, report},
};

/// 16 kHz, 16 bit, 20 ms.
const FRAME: usize = 640;
const FRAME_TIME: Duration = Duration::from_millis(20);
/// A turn that takes longer than this has failed.
const TURN_LIMIT: Duration = Duration::from_secs(20);
/// Samples louder than this are voice; flite's silence is far below.
const VOICED: i16 = 400;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let speech = speech();
    println!(
        "voice_to_voice: {} turns a row, {} conversations at one time, {} sentences of real speech; milliseconds",
        args.turns,
        args.concurrency,
        speech.len()
    );
    let mut failed = false;
    for profile in &args.profiles {
        let twins = Twins::start(&args, profile);
        let server = Server::start(&args, &twins.addresses);
        for mode in &args.modes {
            let before = twins.model_requests();
            let turns = measure(&args, &server.address, mode, &speech).await;
            failed |= !report(profile, mode, &turns, args.turns);
            // What speculation costs: more than one request a turn were guesses that proved wrong.
            let requests = twins.model_requests() - before;
            println!("{:.2} model requests a turn", requests / turns.len() as f64);
        }
    }
    std::process::exit(i32::from(failed));
}

/// Sentences by flite as 16 kHz PCM, cut right after the last voiced sample.
fn speech() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    ["turn on the kitchen light", "what is two plus three", "hello how are you", "tell me about the weather"]
        .iter()
        .enumerate()
        .map(|(n, sentence)| {
            let file = folder.path().join(format!("{n}.wav"));
            let status =
                Command::new("flite").args(["-voice", "slt", "-t", sentence, "-o"]).arg(&file).status();
            assert!(status.is_ok_and(|s| s.success()), "flite is needed: apt-get install flite");
            let wav = std::fs::read(file).expect("flite wrote a file");
            let samples = &wav[44..];
            let voiced =
                |pair: &[u8]| i16::from_le_bytes([pair[0], pair[1]]).unsigned_abs() > VOICED.unsigned_abs();
            let last = samples.chunks_exact(2).rposition(voiced).expect("flite spoke");
            samples[..(last + 1) * 2].to_vec()
        })
        .collect()
}

async fn measure(args: &Args, address: &str, mode: &str, speech: &[Vec<u8>]) -> Vec<Turn> {
    let each = args.turns.div_ceil(args.concurrency);
    let conversations = (0..args.concurrency).map(|n| {
        let (address, mode, speech) = (address.to_owned(), mode.to_owned(), speech.to_vec());
        tokio::spawn(async move { Caller::open(&address, &mode).await.talk(&speech, each, n).await })
    });
    let mut turns = Vec::new();
    for conversation in conversations.collect::<Vec<_>>() {
        turns.extend(conversation.await.expect("a conversation does not panic"));
    }
    turns
}

/// A browser's part: microphone, socket, player.
struct Caller {
    socket: WebSocketStream<TcpStream>,
    start: Instant,
    open_microphone: bool,
    /// Server clock minus ours, in ms, of the `pong` with the shortest way.
    offset: f64,
    shortest: f64,
}

/// What came from the server during a turn.
#[derive(Default)]
struct Answer {
    first_audio: Option<f64>,
    generation: u64,
    waterfall: Option<Value>,
    speech_end: bool,
    player: Player,
    /// When each word begins, in ms of the audio.
    words: Vec<f64>,
}

/// Plays what comes at once.
#[derive(Default)]
struct Player {
    /// Each piece of audio: where it begins in all of it, when it begins to be heard, and how long
    /// it is, in ms.
    pieces: Vec<(f64, f64, f64)>,
}

impl Player {
    fn push(&mut self, now: f64, bytes: usize) {
        // 24 kHz, 16 bit.
        let length = bytes as f64 / 48.0;
        let (at, free) =
            self.pieces.last().map_or((0.0, now), |(at, from, length)| (at + length, from + length));
        self.pieces.push((at, free.max(now), length));
    }

    /// When the audio reaches this place.
    fn reaches(&self, place: f64) -> f64 {
        let piece = self.pieces.iter().rev().find(|(at, ..)| *at <= place).expect("a word lies in the audio");
        piece.1 + (place - piece.0)
    }
}

impl Caller {
    async fn open(address: &str, mode: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("the server accepts");
        stream.set_nodelay(true).expect("nodelay");
        let mut request = format!("ws://{address}/v1/voice").into_client_request().expect("a URL");
        request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().expect("a header"));
        let (socket, _) =
            tokio_tungstenite::client_async(request, stream).await.expect("the server upgrades");
        let open_microphone = mode == "open_microphone";
        let mut caller =
            Self { socket, start: Instant::now(), open_microphone, offset: 0.0, shortest: f64::MAX };
        caller.send(json!({ "type": "hello", "version": 1, "input_rate": 16000, "output_rate": 24000, "mode": mode })).await;
        let mut answer = Answer::default();
        for _ in 0..8 {
            let at_ms = caller.now();
            caller.send(json!({ "type": "ping", "at_ms": at_ms })).await;
            caller.wait_until(Instant::now() + Duration::from_millis(5), &mut answer).await;
        }
        // The provider connections open while the first words are spoken; here they get a moment,
        // as a person would give them.
        caller.wait_until(Instant::now() + Duration::from_millis(500), &mut answer).await;
        caller
    }

    fn now(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1000.0
    }

    async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("the socket is open");
    }

    async fn talk(mut self, speech: &[Vec<u8>], turns: usize, first: usize) -> Vec<Turn> {
        // Conversations do not speak in step.
        self.silence(Duration::from_millis(137 * first as u64)).await;
        let mut measured = Vec::with_capacity(turns);
        for n in 0..turns {
            measured.push(self.turn(&speech[(first + n) % speech.len()]).await);
            self.silence(Duration::from_millis(300)).await;
        }
        measured
    }

    /// One spoken turn: the silence from the last voiced sample, or the release of the button, to
    /// the first audio.
    async fn turn(&mut self, speech: &[u8]) -> Turn {
        let mut answer = Answer::default();
        if !self.open_microphone {
            let at_ms = self.now();
            self.send(json!({ "type": "press", "at_ms": at_ms })).await;
        }
        let mut due = Instant::now();
        for frame in speech.chunks(FRAME) {
            // A frame is complete, and can be sent, once its last sample was spoken.
            due += Duration::from_secs_f64(frame.len() as f64 / 32_000.0);
            self.wait_until(due, &mut answer).await;
            self.socket.send(Message::binary(frame.to_vec())).await.expect("the socket is open");
        }
        let ended = (due - self.start).as_secs_f64() * 1000.0;
        let ended = if self.open_microphone { ended } else { self.now() };
        if !self.open_microphone {
            self.send(json!({ "type": "release", "at_ms": ended })).await;
        }
        let limit = Instant::now() + TURN_LIMIT;
        while answer.first_audio.is_none() || answer.waterfall.is_none() || !answer.speech_end {
            assert!(Instant::now() < limit, "no answer within {TURN_LIMIT:?}");
            due += FRAME_TIME;
            self.wait_until(due, &mut answer).await;
            if self.open_microphone {
                self.socket.send(Message::binary(vec![0u8; FRAME])).await.expect("the socket is open");
            }
        }
        for state in ["started", "ended"] {
            let (at_ms, generation) = (self.now(), answer.generation);
            self.send(json!({ "type": "playout", "generation": generation, "played_ms": 1.0e6, "state": state, "at_ms": at_ms })).await;
        }
        self.parts(ended, &answer)
    }

    async fn silence(&mut self, time: Duration) {
        let mut answer = Answer::default();
        let (mut due, until) = (Instant::now(), Instant::now() + time);
        while due < until {
            due += FRAME_TIME;
            self.wait_until(due, &mut answer).await;
            if self.open_microphone {
                self.socket.send(Message::binary(vec![0u8; FRAME])).await.expect("the socket is open");
            }
        }
    }

    /// Reads what comes until `due`.
    async fn wait_until(&mut self, due: Instant, answer: &mut Answer) {
        while let Ok(message) = tokio::time::timeout_at(due, self.socket.next()).await {
            self.take(message, answer);
        }
    }

    fn take(
        &mut self,
        message: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>,
        answer: &mut Answer,
    ) {
        let now = self.now();
        match message.expect("the server keeps the socket open").expect("the socket works") {
            Message::Binary(bytes) => {
                answer.first_audio.get_or_insert(now);
                answer.player.push(now, bytes.len());
            }
            Message::Text(text) => {
                let message: Value = serde_json::from_str(&text).expect("JSON");
                match message["type"].as_str().unwrap_or_default() {
                    "pong" => self.pong(&message, now),
                    "speech_start" => answer.generation = message["generation"].as_u64().unwrap_or_default(),
                    "speech_end" => answer.speech_end = true,
                    "words" => {
                        let words = message["words"].as_array().expect("a list").iter();
                        answer.words.extend(words.map(|word| word["start_ms"].as_f64().expect("a number")));
                    }
                    "waterfall" => answer.waterfall = Some(message),
                    "error" => panic!("the server refused: {text}"),
                    _ => {}
                }
            }
            Message::Close(frame) => panic!("the server closed: {frame:?}"),
            _ => {}
        }
    }

    fn pong(&mut self, pong: &Value, now: f64) {
        let (Some(sent), Some(server)) = (pong["at_ms"].as_f64(), pong["server_ms"].as_f64()) else { return };
        if now - sent < self.shortest {
            self.shortest = now - sent;
            self.offset = server - (sent + now) / 2.0;
        }
    }

    fn parts(&self, ended: f64, answer: &Answer) -> Turn {
        let first_audio = answer.first_audio.expect("waited for");
        let waterfall = answer.waterfall.as_ref().expect("waited for");
        let clock = |name: &str| waterfall[name].as_f64().expect("a number") - self.offset;
        // By push to talk the way up is all there is before; a detector's idea of when speech ended
        // is some windows late as well.
        let before = if self.open_microphone { "uplink, detector" } else { "uplink" };
        let mut parts = vec![(before.to_owned(), clock("from_ms") - ended)];
        for part in waterfall["parts"].as_array().expect("a list") {
            parts.push((
                part["name"].as_str().expect("a name").to_owned(),
                part["ms"].as_f64().expect("a number"),
            ));
        }
        parts.push(("downlink".to_owned(), first_audio - clock("sent_ms")));
        let opener = waterfall["opener"].as_str().unwrap_or_default();
        let first_word = answer.words[opener.split_whitespace().count()];
        Turn {
            silence: first_audio - ended,
            // What is sent before the first word is heard with it.
            answered: if opener.is_empty() { first_audio } else { answer.player.reaches(first_word) } - ended,
            opened: !opener.is_empty(),
            parts,
        }
    }
}
