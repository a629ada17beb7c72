//! Whole sessions in virtual time, over an in-memory WebSocket, with scripted providers. What the
//! machines decide is tested with them; here it is their joints.

mod cartesia;
mod deepgram;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, stream};
use livos_core::{
    budget::{Budget, Limit, Meter, Unit},
    conversation::{
        self, ConversationId, Finish, Heard, Inbound, Reply, ReplyControl, ReplyError, ReplyErrorKind,
        ReplyEvent,
    },
    time::{Clock, SystemClock},
    user::UserId,
};
use serde_json::{Value, json};
use tokio::{io::DuplexStream, task::JoinHandle, time::Instant};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{SessionConfig, VoiceSession, opener::OpenerConfig};
use crate::{
    audio::AudioFormat,
    stt::SpeechToText,
    testing::{ScriptedStt, ScriptedTts},
    transport::websocket::{self, WebSocketTransport},
    tts::TextToSpeech,
    vad::Energy,
};

/// Each word of an answer lasts this long.
const WORD: Duration = Duration::from_millis(200);

/// What became of the replies: what was asked, and for each committed one what was heard.
#[derive(Clone, Default)]
struct Book {
    asked: Arc<Mutex<Vec<String>>>,
    heard: Arc<Mutex<Vec<Heard>>>,
}

struct Control {
    book: Book,
    committed: bool,
}

impl ReplyControl for Control {
    fn commit(&mut self) {
        assert!(!std::mem::replace(&mut self.committed, true), "committed twice");
    }

    fn heard(&mut self, heard: Heard) {
        assert!(self.committed, "heard before the commit");
        self.book.heard.lock().unwrap().push(heard);
    }
}

/// One session and its client.
struct Call {
    client: WebSocketStream<DuplexStream>,
    start: Instant,
    session: JoinHandle<()>,
    listener: ScriptedStt,
    book: Book,
    drain: tokio::sync::oneshot::Sender<()>,
    /// Everything the server has told, with when.
    told: Vec<(Duration, Value)>,
    audio: usize,
    /// The audio, with when it came.
    pieces: Vec<(Duration, Vec<i16>)>,
}

struct Scene {
    says: Vec<&'static str>,
    answer: Result<&'static str, ()>,
    hello: Value,
    deaf: bool,
    mute: bool,
    budget: Vec<(Unit, Limit)>,
    /// How long the responder takes.
    slow: Duration,
    /// Said while it does.
    opener: OpenerConfig,
    /// How long the session waits for a voice.
    voice_patience: Duration,
    /// Hears instead of the listener.
    stt: Option<Arc<dyn SpeechToText>>,
    /// Speaks instead of the speaker.
    tts: Option<Arc<dyn TextToSpeech>>,
}

impl Default for Scene {
    fn default() -> Self {
        Self {
            says: vec![],
            answer: Ok("One two three four five."),
            hello: json!({}),
            deaf: false,
            mute: false,
            budget: vec![],
            slow: Duration::from_millis(300),
            opener: OpenerConfig::default(),
            voice_patience: Duration::from_secs(6),
            stt: None,
            tts: None,
        }
    }
}

impl Scene {
    async fn play(self) -> Call {
        let listener = match self.deaf {
            true => ScriptedStt::refusing("the key was refused"),
            false => ScriptedStt::new(self.says),
        };
        let speaker = match self.mute {
            true => ScriptedTts::refusing("the key was refused"),
            false => ScriptedTts::default().with_word(WORD),
        };
        let book = Book::default();
        let (responder_book, answer, slow) = (book.clone(), self.answer, self.slow);
        let responder = tower::service_fn(move |inbound: Inbound| {
            assert_eq!(inbound.speaker, conversation::Speaker::Paired);
            assert_eq!(inbound.payer.as_str(), "telegram:7");
            let book = responder_book.clone();
            async move {
                book.asked.lock().unwrap().push(inbound.text);
                tokio::time::sleep(slow).await;
                let Ok(text) = answer else {
                    return Err(ReplyError::new(
                        ReplyErrorKind::Unavailable,
                        "the model could not be reached",
                    ));
                };
                let events =
                    [Ok(ReplyEvent::Text(text.to_owned())), Ok(ReplyEvent::Finished(Finish::Complete))];
                Ok(Reply::new(stream::iter(events), Control { book, committed: false }))
            }
        });
        let (near, far) = tokio::io::duplex(1 << 20);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let server = WebSocketStream::from_raw_socket(far, Role::Server, Some(websocket::config())).await;
        let mut config = SessionConfig::new(
            ConversationId::try_from("test").unwrap(),
            conversation::Speaker::Paired,
            UserId::try_from("telegram:7").unwrap(),
        );
        config.opener = self.opener;
        config.voice_patience = self.voice_patience;
        let (drain, drained) = tokio::sync::oneshot::channel::<()>();
        let session = VoiceSession::new(
            self.stt.unwrap_or_else(|| Arc::new(listener.clone())),
            self.tts.unwrap_or_else(|| Arc::new(speaker)),
            responder,
            config,
        );
        let meter = Meter::new(Budget::new(self.budget, SystemClock.now()));
        let session = session.with_vad(Energy::default()).with_meter(meter).with_drain(async {
            if drained.await.is_err() {
                std::future::pending::<()>().await;
            }
        });
        let session = tokio::spawn(session.run(WebSocketTransport::new(server)));
        let mut call = Call {
            client,
            start: Instant::now(),
            session,
            listener,
            book,
            drain,
            told: Vec::new(),
            audio: 0,
            pieces: Vec::new(),
        };
        let mut hello = json!({ "type": "hello", "version": 1, "input_rate": 16000, "output_rate": 24000 });
        hello.as_object_mut().unwrap().extend(self.hello.as_object().unwrap().clone());
        call.send(hello).await;
        call.wait(10).await;
        call
    }
}

impl Call {
    async fn send(&mut self, message: Value) {
        self.client.send(Message::text(message.to_string())).await.unwrap();
    }

    fn at_ms(&self) -> f64 {
        self.start.elapsed().as_secs_f64() * 1000.0
    }

    /// Takes what the server sends for a while.
    async fn wait(&mut self, ms: u64) {
        let until = Instant::now() + Duration::from_millis(ms);
        while let Ok(Some(Ok(message))) = tokio::time::timeout_at(until, self.client.next()).await {
            let at = self.start.elapsed();
            match message {
                Message::Text(text) => self.told.push((at, serde_json::from_str(&text).unwrap())),
                Message::Binary(bytes) => {
                    self.audio += bytes.len();
                    let (samples, _) = bytes.as_chunks::<2>();
                    self.pieces.push((at, samples.iter().copied().map(i16::from_le_bytes).collect()));
                }
                Message::Close(frame) => {
                    let code = frame.map(|frame| u16::from(frame.code));
                    self.told.push((at, json!({ "type": "close", "code": code })));
                }
                _ => {}
            }
        }
        tokio::time::sleep_until(until).await;
    }

    /// Speaks (or is silent) for a while, in real time.
    async fn sound(&mut self, ms: u64, level: i16) {
        for _ in 0..ms / 20 {
            let frame: Vec<u8> =
                (0..320).flat_map(|n| (if n % 2 == 0 { level } else { -level }).to_le_bytes()).collect();
            self.client.send(Message::binary(frame)).await.unwrap();
            self.wait(20).await;
        }
    }

    async fn ask(&mut self) {
        let at_ms = self.at_ms();
        self.send(json!({ "type": "press", "at_ms": at_ms })).await;
        self.sound(600, 8000).await;
        let at_ms = self.at_ms();
        self.send(json!({ "type": "release", "at_ms": at_ms })).await;
    }

    async fn vad(&mut self, state: &str) {
        let last_voiced_ms = self.at_ms();
        self.send(json!({ "type": "vad", "state": state, "last_voiced_ms": last_voiced_ms })).await;
        self.wait(1).await;
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.told.iter().map(|(_, told)| told).filter(|told| told["type"] == kind).collect()
    }

    fn states(&self) -> Vec<&str> {
        self.all("state").iter().filter_map(|told| told["state"].as_str()).collect()
    }

    fn asked(&self) -> Vec<String> {
        self.book.asked.lock().unwrap().clone()
    }

    fn heard(&self) -> Vec<(String, bool)> {
        self.book.heard.lock().unwrap().iter().map(|heard| (heard.text.clone(), heard.complete)).collect()
    }

    /// The words that the client was told, joined.
    fn spoken(&self) -> String {
        let words = self.all("words").into_iter().map(|told| told["words"][0]["text"].as_str().unwrap());
        words.collect::<Vec<_>>().join(" ")
    }

    /// Leaves, and waits for the session to end.
    async fn leave(mut self) {
        self.send(json!({ "type": "bye" })).await;
        self.wait(100).await;
        assert_eq!(self.all("close"), [&json!({ "type": "close", "code": 1000 })]);
        tokio::time::timeout(Duration::from_secs(5), self.session).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_spoken_question_is_answered_aloud() {
    let mut call = Scene { says: vec!["What time is it?"], ..Scene::default() }.play().await;
    assert_eq!(call.all("ready")[0]["conversation"], "test");
    call.ask().await;
    call.wait(4000).await;
    assert_eq!(call.asked(), ["What time is it?"]);
    assert_eq!(call.states(), ["listening", "thinking", "speaking", "idle"]);
    assert_eq!(call.all("transcript").last().unwrap()["is_final"], true);
    assert_eq!(call.audio, AudioFormat::VOICE.bytes_in(WORD * 5));
    assert_eq!(call.spoken(), "One two three four five.");
    assert_eq!(call.heard(), [("One two three four five.".to_owned(), true)]);
    assert_eq!(call.all("reply_end")[0]["complete"], true);
    call.leave().await;
}

#[tokio::test(start_paused = true)]
async fn the_waterfall_sums_to_the_silence() {
    let mut call = Scene { says: vec!["What time is it?"], ..Scene::default() }.play().await;
    call.ask().await;
    let released = call.at_ms();
    call.wait(2000).await;
    let waterfall = call.all("waterfall")[0];
    let parts = waterfall["parts"].as_array().unwrap();
    let sum: f64 = parts.iter().map(|part| part["ms"].as_f64().unwrap()).sum();
    let whole = waterfall["sent_ms"].as_f64().unwrap() - waterfall["from_ms"].as_f64().unwrap();
    assert!((sum - whole).abs() < 0.001, "{waterfall}");
    let first = call.told.iter().find(|(_, told)| told["type"] == "speech_start").unwrap().0;
    assert!((first.as_secs_f64() * 1000.0 - released - sum).abs() < 5.0, "{waterfall}");
    let part =
        |name: &str| parts.iter().find(|part| part["name"] == name).unwrap()["ms"].as_f64().unwrap().round();
    assert_eq!((part("end_of_turn"), part("stt"), part("ttft"), part("ttfb")), (0.0, 150.0, 300.0, 50.0));
}

#[tokio::test(start_paused = true)]
async fn a_reporting_player_decides_what_was_heard() {
    let mut call = Scene { says: vec!["Count."], ..Scene::default() }.play().await;
    call.ask().await;
    call.wait(1000).await;
    for (played_ms, state) in [(0, "started"), (450, "held")] {
        let at_ms = call.at_ms();
        call.send(json!({ "type": "playout", "generation": 1, "played_ms": played_ms, "state": state, "at_ms": at_ms })).await;
    }
    call.wait(20_000).await;
    assert_eq!(call.heard(), [], "a held player has not ended");
    call.send(json!({ "type": "stop" })).await;
    call.wait(5).await;
    assert_eq!(call.heard(), [("One two".to_owned(), false)]);
}

fn open_microphone() -> Value {
    json!({ "mode": "open_microphone", "client_vad": true })
}

#[tokio::test(start_paused = true)]
async fn speech_over_the_answer_pauses_and_its_words_interrupt() {
    let mut call = Scene { says: vec!["Count.", "No, wait."], hello: open_microphone(), ..Scene::default() }
        .play()
        .await;
    call.vad("speaking").await;
    call.sound(600, 8000).await;
    call.vad("quiet").await;
    call.wait(1400).await;
    assert_eq!(call.states().last(), Some(&"speaking"));
    call.vad("starting").await;
    assert_eq!(call.all("pause").len(), 1);
    call.vad("speaking").await;
    call.sound(300, 8000).await;
    call.vad("quiet").await;
    call.wait(1500).await;
    assert_eq!(call.asked(), ["Count.", "No, wait."]);
    assert_eq!((call.all("clear").len(), call.all("resume").len()), (1, 0));
    assert!(!call.heard()[0].1 && call.heard()[0].0.starts_with("One"), "{:?}", call.heard());
}

#[tokio::test(start_paused = true)]
async fn without_a_voice_the_answer_comes_as_text() {
    let mut call = Scene { says: vec!["Hello"], mute: true, ..Scene::default() }.play().await;
    call.ask().await;
    call.wait(2000).await;
    assert_eq!(call.all("error")[0]["code"], "voice_unavailable");
    assert_eq!(call.all("reply")[0]["text"], "One two three four five.");
    assert_eq!(call.states(), ["listening", "thinking", "idle"]);
    assert_eq!(call.heard(), [("One two three four five.".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_recogniser_typing_works() {
    let mut call = Scene { deaf: true, ..Scene::default() }.play().await;
    call.ask().await;
    call.wait(10).await;
    assert!(call.all("error").iter().all(|told| told["code"] == "speech_unavailable"));
    assert_eq!(call.all("error").len(), 2);
    assert_eq!(call.states(), ["listening", "idle"]);
    call.send(json!({ "type": "text", "text": "Hello" })).await;
    call.wait(3000).await;
    assert_eq!(call.heard().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_listener_is_never_sent_more_than_the_limit_ahead() {
    static LONG: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| "word ".repeat(1000));
    let mut call = Scene { says: vec!["Go."], answer: Ok(&LONG), ..Scene::default() }.play().await;
    call.ask().await;
    call.wait(5000).await;
    let seconds = AudioFormat::VOICE.duration_of(call.audio).as_secs_f64();
    assert!((30.0..36.0).contains(&seconds), "{seconds}");
    call.wait(60_000).await;
    let seconds = AudioFormat::VOICE.duration_of(call.audio).as_secs_f64();
    assert!((90.0..96.0).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_the_answer_finish_and_closes() {
    let mut call = Scene { says: vec!["Hello"], ..Scene::default() }.play().await;
    call.ask().await;
    call.wait(700).await;
    let (closed, drain) = tokio::sync::oneshot::channel();
    std::mem::replace(&mut call.drain, closed).send(()).unwrap();
    call.wait(4000).await;
    drop(drain);
    assert_eq!(call.heard(), [("One two three four five.".to_owned(), true)]);
    assert_eq!(call.all("error")[0]["code"], "draining");
    assert_eq!(call.all("close")[0]["code"], 1001);
}

#[tokio::test(start_paused = true)]
async fn the_server_detects_speech_in_an_open_microphone() {
    let hello = json!({ "mode": "open_microphone" });
    let mut call = Scene { says: vec!["Hello there."], hello, ..Scene::default() }.play().await;
    call.sound(1000, 20).await;
    assert_eq!(call.listener.given(), Duration::ZERO);
    call.sound(1000, 8000).await;
    let silent_from = call.at_ms();
    call.sound(3000, 20).await;
    assert_eq!(call.asked(), ["Hello there."]);
    assert_eq!(call.states(), ["listening", "thinking", "speaking", "idle"]);
    let given = call.listener.given().as_millis();
    assert!((1300..1700).contains(&given), "{given} ms: pre-roll, speech, and the silence that ends it");
    // The silence counts from the last voiced audio, not from the decision.
    let waterfall = call.all("waterfall")[0];
    let parts = waterfall["parts"].as_array().unwrap();
    let sum: f64 = parts.iter().map(|part| part["ms"].as_f64().unwrap()).sum();
    let first = call.told.iter().find(|(_, told)| told["type"] == "speech_start").unwrap().0;
    assert!((first.as_secs_f64() * 1000.0 - silent_from - sum).abs() < 30.0, "{waterfall}");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_stops_the_microphone() {
    let budget = vec![(Unit::AudioMs, Limit::stop_at(2000))];
    let mut call = Scene { budget, ..Scene::default() }.play().await;
    call.send(json!({ "type": "press", "at_ms": 1 })).await;
    for _ in 0..150 {
        let _ = call.client.send(Message::binary(vec![9u8; 640])).await;
        call.wait(20).await;
    }
    assert_eq!(call.all("error")[0]["code"], "budget_exhausted");
    assert_eq!(call.all("close")[0]["code"], 4402);
    assert_eq!(call.listener.given(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_stops_the_voice() {
    let budget = vec![(Unit::Characters, Limit::stop_at(3))];
    let mut call = Scene { budget, ..Scene::default() }.play().await;
    call.send(json!({ "type": "text", "text": "Hello" })).await;
    call.wait(2000).await;
    assert_eq!(call.all("error")[0]["code"], "budget_exhausted");
    assert_eq!(call.audio, 0);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_late_is_opened_with_a_sentence_that_is_no_part_of_it() {
    let opener = OpenerConfig::new(["Let me see."]);
    let scene = Scene {
        says: vec!["What time is it?"],
        slow: Duration::from_millis(2000),
        opener,
        ..Scene::default()
    };
    let mut call = scene.play().await;
    call.ask().await;
    let released = call.start.elapsed();
    call.wait(6000).await;
    assert_eq!(call.spoken(), "Let me see. One two three four five.");
    // The synthesiser takes 50 ms.
    let first = call.pieces[0].0 - released;
    assert_eq!(first.as_millis() / 10, 90, "{first:?}");
    let waterfall = call.all("waterfall")[0];
    assert_eq!(waterfall["opener"], "Let me see.");
    let parts = waterfall["parts"].as_array().unwrap().iter();
    let sum: f64 = parts.map(|part| part["ms"].as_f64().unwrap()).sum();
    assert!((sum - first.as_secs_f64() * 1000.0).abs() < 5.0, "{waterfall}");
    // The listener is shown what was said; the responder remembers what it answered.
    assert_eq!(call.all("reply_end")[0]["heard"], "Let me see. One two three four five.");
    assert_eq!(call.heard(), [("One two three four five.".to_owned(), true)]);
    assert_eq!(call.states(), ["listening", "thinking", "speaking", "idle"]);
}
