//! Each rule of the reference, met by a bare WebSocket client.

use base64::{Engine, engine::general_purpose::STANDARD};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};

use super::*;
use crate::tones;

const PATH: &str = "/tts/websocket?cartesia_version=2026-03-01";
const BEARER: (&str, &str) = ("authorization", "Bearer key");

struct Client(WebSocketStream<tokio::io::DuplexStream>);

fn twin() -> Cartesia {
    Cartesia::new(Config::default())
}

async fn handshake(twin: &Cartesia, path: &str, header: (&str, &str)) -> Result<Client, u16> {
    let uri = format!("ws://api.cartesia.test{path}").parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_header(header.0, header.1);
    match client_async(request, twin.connect()).await {
        Ok((socket, response)) => {
            assert!(response.headers().contains_key("x-request-id"));
            Ok(Client(socket))
        }
        Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn open(twin: &Cartesia) -> Client {
    handshake(twin, PATH, BEARER).await.unwrap()
}

fn input(context: &str, transcript: &str, more: bool) -> Value {
    json!({
        "model_id": "sonic-3.5", "transcript": transcript, "voice": {"mode": "id", "id": "v"}, "language": "en",
        "context_id": context, "continue": more, "max_buffer_delay_ms": 0, "add_timestamps": true,
        "output_format": {"container": "raw", "encoding": "pcm_s16le", "sample_rate": 24000},
    })
}

fn with(mut message: Value, field: &str, value: impl Into<Value>) -> Value {
    message[field] = value.into();
    message
}

#[derive(Default)]
struct Heard {
    bytes: Vec<u8>,
    chunks: Vec<usize>,
    words: Vec<(String, f64, f64)>,
    flushes: Vec<u64>,
    last: Value,
    first_at: Option<Instant>,
}

impl Heard {
    fn text(&self, rate: u32) -> String {
        let samples: Vec<i16> =
            self.bytes.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect();
        let words: Vec<_> = tones::decode(&samples, rate).into_iter().map(|word| word.text).collect();
        words.join(" ")
    }
}

impl Client {
    async fn send(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn message(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.0.next());
        next.await.expect("the twin says nothing").expect("the stream ended").unwrap()
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(self.message().await.to_text().unwrap()).unwrap()
    }

    /// Everything of one context until it ends; other contexts are skipped.
    async fn listen(&mut self, context: &str) -> Heard {
        let mut heard = Heard::default();
        loop {
            let message = self.next().await;
            if message["context_id"] != context {
                continue;
            }
            match message["type"].as_str().unwrap() {
                "chunk" => {
                    let data = STANDARD.decode(message["data"].as_str().unwrap()).unwrap();
                    heard.first_at.get_or_insert_with(Instant::now);
                    heard.chunks.push(data.len());
                    heard.bytes.extend(data);
                }
                "timestamps" => {
                    let times = &message["word_timestamps"];
                    for (n, word) in times["words"].as_array().unwrap().iter().enumerate() {
                        let start = times["start"][n].as_f64().unwrap();
                        let received = heard.bytes.len() as f64 / 48_000.0;
                        assert!(
                            start >= received - 1e-6 && start < received + 0.13,
                            "{word} is early or late"
                        );
                        let end = times["end"][n].as_f64().unwrap();
                        heard.words.push((word.as_str().unwrap().to_owned(), start, end));
                    }
                }
                "flush_done" => heard.flushes.push(message["flush_id"].as_u64().unwrap()),
                _ => {
                    assert_eq!(message["done"], true);
                    heard.last = message;
                    return heard;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_form_of_a_key_is_let_in_and_a_wrong_one_is_not() {
    let twin = Cartesia::new(Config { api_key: Some("right".into()), ..Config::default() });
    let none = ("x-nothing", "1");
    for header in [("authorization", "Bearer right"), ("x-api-key", "right")] {
        assert!(handshake(&twin, PATH, header).await.is_ok(), "{header:?}");
    }
    for query in ["api_key=right", "access_token=right"] {
        assert!(handshake(&twin, &format!("{PATH}&{query}"), none).await.is_ok(), "{query}");
    }
    for header in [none, ("authorization", "Bearer wrong"), ("authorization", "Token right")] {
        assert_eq!(handshake(&twin, PATH, header).await.err(), Some(401), "{header:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_comes_by_header_or_query_and_the_query_wins() {
    let twin = twin();
    let path = "/tts/websocket?api_key=k";
    let status =
        async |path: &str, version: &str| handshake(&twin, path, ("cartesia-version", version)).await.err();
    assert_eq!(status(path, "2026-03-01").await, None);
    assert_eq!(status(path, "2020-01-01").await, Some(400));
    assert_eq!(status(&format!("{path}&cartesia_version=2025-04-16"), "2020-01-01").await, None);
    assert_eq!(status(&format!("{path}&cartesia_version=2020-01-01"), "2026-03-01").await, Some(400));
    assert_eq!(status("/tts/else?api_key=k", "2026-03-01").await, Some(404));
}

#[tokio::test(start_paused = true)]
async fn scripted_refusals_have_their_status() {
    let twin = twin();
    for status in [401, 402, 429] {
        twin.refuse(1, Refusal::status(status));
        assert_eq!(handshake(&twin, PATH, BEARER).await.err(), Some(status));
    }
    open(&twin).await;
}

#[tokio::test(start_paused = true)]
async fn more_sockets_than_ten_times_the_contexts_are_refused() {
    let twin = Cartesia::new(Config { max_contexts: 1, ..Config::default() });
    let mut sockets = Vec::new();
    for _ in 0..10 {
        sockets.push(open(&twin).await);
    }
    assert_eq!(handshake(&twin, PATH, BEARER).await.err(), Some(429));
    sockets.pop();
    sleep(Duration::from_millis(1)).await;
    open(&twin).await;
}

#[tokio::test(start_paused = true)]
async fn inputs_are_spoken_in_order_with_words_from_the_origin_of_the_context() {
    let twin = twin();
    let mut client = open(&twin).await;
    client.send(input("a", "Hello there,", true)).await;
    client.send(input("a", " my friend.", true)).await;
    client.send(input("a", "", false)).await;
    let heard = client.listen("a").await;
    assert_eq!(heard.last["type"], "done");
    assert_eq!(heard.text(24_000), "hello there, my friend.");
    assert_eq!(heard.flushes, [1, 2]);
    let expected = tones::speak("Hello there, my friend.", 24_000).1;
    assert_eq!(heard.words.len(), expected.len());
    for ((text, start, end), word) in heard.words.iter().zip(expected) {
        assert_eq!(*text, word.text);
        assert!((start - word.start).abs() < 0.001 && (end - word.end).abs() < 0.001, "{text}");
    }
    // 20 to 120 ms; the last chunk of an input is what remains.
    assert!(heard.chunks.iter().all(|bytes| *bytes <= 5760));
    let stats = twin.stats();
    assert_eq!(stats.transcripts[0].text, "Hello there, my friend.");
    assert_eq!((stats.transcripts[0].inputs, stats.transcripts[0].finished), (3, true));
    assert_eq!((stats.billed_characters, stats.active_contexts), (23, 0));
}

#[tokio::test(start_paused = true)]
async fn every_rate_is_spoken_and_other_formats_are_an_error() {
    let mut client = open(&twin()).await;
    for rate in [8_000, 16_000, 22_050, 24_000, 44_100, 48_000] {
        let format = json!({"container": "raw", "encoding": "pcm_s16le", "sample_rate": rate});
        let message = with(with(input("a", "well", false), "output_format", format), "add_timestamps", false);
        client.send(message).await;
        let heard = client.listen("a").await;
        let seconds = heard.bytes.len() as f64 / 2.0 / f64::from(rate);
        assert!((seconds - tones::duration("well")).abs() < 0.002, "{rate}: {seconds}");
        if rate > 8_000 {
            assert_eq!(heard.text(rate), "well", "{rate}");
        }
    }
    for (encoding, rate) in [("pcm_f32le", 24_000), ("pcm_s16le", 11_025)] {
        let format = json!({"container": "raw", "encoding": encoding, "sample_rate": rate});
        client.send(with(input("b", "well", false), "output_format", format)).await;
        assert_eq!(client.listen("b").await.last["status_code"], 400);
    }
}

#[tokio::test(start_paused = true)]
async fn text_is_gathered_for_three_seconds_unless_told_otherwise() {
    let mut client = open(&twin()).await;
    for (delay, waited) in [(Value::Null, 3_000), (json!(500), 500), (json!(0), 0)] {
        let begun = Instant::now();
        client.send(with(input("a", "Well, then", true), "max_buffer_delay_ms", delay)).await;
        let heard = client.listen("a").await;
        let first = heard.first_at.unwrap() - begun;
        assert!(first.abs_diff(Duration::from_millis(waited)) < Duration::from_millis(5), "{first:?}");
    }
    client.send(with(input("a", "Well", true), "max_buffer_delay_ms", 5001)).await;
    assert_eq!(client.listen("a").await.last["status_code"], 400);
}

#[tokio::test(start_paused = true)]
async fn a_sentence_enough_words_a_flush_or_the_end_are_not_waited_for() {
    let mut client = open(&twin()).await;
    let whole = [
        ("Yes. And", true, false),
        ("a b c d e f g h i", true, false),
        ("Yes", true, true),
        ("Yes", false, false),
    ];
    for (text, more, flush) in whole {
        let begun = Instant::now();
        let message = with(input("a", text, more), "max_buffer_delay_ms", 3000);
        client.send(with(message, "flush", flush)).await;
        let heard = client.listen("a").await;
        assert!(heard.first_at.unwrap() - begun < Duration::from_millis(5), "{text}");
        assert_eq!(heard.flushes.len(), usize::from(flush));
        assert_eq!(heard.text(24_000), text.to_lowercase());
    }
}

#[tokio::test(start_paused = true)]
async fn changed_fields_within_a_context_are_refused() {
    let twin = twin();
    let mut client = open(&twin).await;
    client.send(input("a", "Well, ", true)).await;
    client.send(with(input("a", "then", true), "language", "de")).await;
    let heard = client.listen("a").await;
    assert_eq!((&heard.last["type"], &heard.last["status_code"]), (&json!("error"), &json!(400)));
    assert_eq!(twin.stats().active_contexts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_context_expires_a_second_after_its_last_audio() {
    for (expired, end) in [(Expired::Fresh, "done"), (Expired::Refused, "error")] {
        let twin = Cartesia::new(Config { expired, pace: Pace::Times(8.0), ..Config::default() });
        let mut client = open(&twin).await;
        let begun = Instant::now();
        client.send(input("a", "Hello", true)).await;
        assert_eq!(client.listen("a").await.last["type"], "done");
        let streamed = tones::duration("Hello") / 8.0;
        let took = begun.elapsed().as_secs_f64();
        assert!((took - 1.0 - streamed).abs() < 0.02, "{took}");
        client.send(input("a", "again", false)).await;
        assert_eq!(client.listen("a").await.last["type"], end);
        assert_eq!(twin.stats().transcripts.len(), if end == "done" { 2 } else { 1 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancel_drops_what_waits_and_lets_what_is_under_way_run_on() {
    for (cancel, heard_text) in [(Cancel::RunsOn, "one two three"), (Cancel::Stops, "")] {
        let twin = Cartesia::new(Config { cancel, pace: Pace::Times(4.0), ..Config::default() });
        let mut client = open(&twin).await;
        client.send(input("a", "One two three", true)).await;
        client.send(input("a", " four", true)).await;
        sleep(Duration::from_millis(10)).await;
        client.send(json!({"context_id": "a", "cancel": true})).await;
        let heard = client.listen("a").await;
        assert_eq!((heard.text(24_000).as_str(), &heard.last["type"]), (heard_text, &json!("done")));
        let stats = twin.stats();
        assert!(stats.transcripts[0].cancelled);
        assert_eq!(stats.billed_characters, 13, "what never began is not billed");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_are_structured_in_new_versions_and_text_in_old_ones() {
    let twin = twin();
    let mut client = open(&twin).await;
    client.send(json!([])).await;
    let error = client.next().await;
    assert!(error["context_id"].is_null() && error["error_code"].is_null());
    assert_eq!((&error["type"], &error["title"]), (&json!("error"), &json!("Bad request")));
    client.0.send(Message::text("{nonsense")).await.unwrap();
    assert!(client.next().await["context_id"].is_null());
    let mut old = handshake(&twin, "/tts/websocket?cartesia_version=2025-04-16", BEARER).await.unwrap();
    old.send(with(input("a", "x", false), "model_id", "other")).await;
    let error = old.next().await;
    assert_eq!((&error["error"], &error["context_id"]), (&json!("Bad request: no such model"), &json!("a")));
}

#[tokio::test(start_paused = true)]
async fn contexts_above_the_plan_are_refused_and_those_below_interleave() {
    let twin = Cartesia::new(Config { max_contexts: 2, pace: Pace::Times(8.0), ..Config::default() });
    let mut client = open(&twin).await;
    for context in ["a", "b", "c"] {
        client.send(input(context, "one two three", false)).await;
    }
    let mut order = Vec::new();
    let mut ended = 0;
    while ended < 3 {
        let message = client.next().await;
        let context = message["context_id"].as_str().unwrap().to_owned();
        if context == "c" {
            assert_eq!(
                (&message["status_code"], &message["error_code"]),
                (&json!(429), &json!("concurrency_limited"))
            );
        }
        ended += usize::from(message["done"] == true);
        order.push(context);
    }
    order.dedup();
    assert!(order.len() > 6, "{order:?}");
    client.send(input("c", "four", false)).await;
    assert_eq!(client.listen("c").await.text(24_000), "four");
}

#[tokio::test(start_paused = true)]
async fn scripted_failures_meet_the_next_generations() {
    let twin = twin();
    twin.fail(2, 500);
    let mut client = open(&twin).await;
    for expected in ["error", "error", "done"] {
        client.send(input("a", "well", false)).await;
        assert_eq!(client.listen("a").await.last["type"], expected);
    }
    assert_eq!(twin.stats().billed_characters, 4);
}

#[tokio::test(start_paused = true)]
async fn an_idle_socket_is_closed_after_five_minutes() {
    let mut client = open(&twin()).await;
    let begun = Instant::now();
    let Message::Close(Some(frame)) = client.message().await else { panic!("no close frame") };
    assert_eq!((u16::from(frame.code), begun.elapsed().as_secs()), (1000, 300));
}

#[tokio::test(start_paused = true)]
async fn chunks_may_be_cut_inside_a_sample() {
    let twin = Cartesia::new(Config { odd_chunks: true, ..Config::default() });
    let mut client = open(&twin).await;
    client.send(with(input("a", "one two three", false), "add_timestamps", false)).await;
    let heard = client.listen("a").await;
    assert!(heard.chunks.iter().any(|bytes| bytes % 2 == 1));
    assert_eq!(heard.text(24_000), "one two three");
}

#[tokio::test(start_paused = true)]
async fn the_seed_profile_takes_its_time() {
    let twin = Cartesia::new(Config { profile: Profile::Seed, ..Config::default() });
    let mut client = open(&twin).await;
    let begun = Instant::now();
    client.send(input("a", "one two three four five six", false)).await;
    let heard = client.listen("a").await;
    let first = heard.first_at.unwrap() - begun;
    assert!((90..=250).contains(&first.as_millis()), "{first:?}");
    let streamed = heard.first_at.unwrap().elapsed().as_secs_f64();
    let wanted = tones::duration("one two three four five six") / 8.0;
    assert!((streamed - wanted).abs() < 0.05, "{streamed} for {wanted}");
}

#[tokio::test(start_paused = true)]
async fn a_hum_lasts_as_long_as_its_words() {
    let twin = Cartesia::new(Config { voice: Voice::Shaped, ..Config::default() });
    let mut client = open(&twin).await;
    client.send(input("a", "one two three", false)).await;
    let heard = client.listen("a").await;
    assert_eq!(heard.words.len(), 3);
    let seconds = heard.bytes.len() as f64 / 48_000.0;
    assert!((0.8..1.2).contains(&seconds) && heard.words[2].2 <= seconds, "{seconds}");
}
