//! Each rule of the reference, met by a bare WebSocket client.

mod faults;
mod flux;
mod lifetime;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{self, ClientRequestBuilder, Message},
};

use super::*;
use crate::{
    fault::{Fault, Target, When},
    tones,
};

const V1: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000";

struct Client(WebSocketStream<tokio::io::DuplexStream>);

fn twin() -> Deepgram {
    Deepgram::new(Config::default())
}

async fn handshake(
    twin: &Deepgram,
    path: &str,
    header: (&str, &str),
) -> Result<(Client, tungstenite::handshake::client::Response), Response<Option<Vec<u8>>>> {
    let uri = format!("ws://api.deepgram.test{path}").parse().unwrap();
    let request = ClientRequestBuilder::new(uri).with_header(header.0, header.1);
    match client_async(request, twin.connect()).await {
        Ok((socket, response)) => Ok((Client(socket), response)),
        Err(tungstenite::Error::Http(response)) => Err(*response),
        Err(error) => panic!("{error}"),
    }
}

async fn open(twin: &Deepgram, path: &str) -> Client {
    handshake(twin, path, ("authorization", "Token key")).await.unwrap().0
}

async fn refused(twin: &Deepgram, path: &str, header: (&str, &str)) -> (u16, Value) {
    let response = handshake(twin, path, header).await.map(|_| ()).unwrap_err();
    let status = response.status().as_u16();
    assert!(response.headers().contains_key("dg-error"), "{status}");
    let id = response.headers()["dg-request-id"].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(response.body().as_ref().unwrap()).unwrap();
    assert_eq!(body["request_id"], id.as_str());
    (status, body)
}

impl Client {
    async fn text(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    /// Sends audio as it sounds, 20 ms at a time.
    async fn audio(&mut self, samples: &[i16]) {
        for frame in samples.chunks(320) {
            let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.0.send(Message::binary(bytes)).await.unwrap();
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn say(&mut self, text: &str) {
        self.audio(&tones::encode(text, 16_000)).await;
    }

    async fn silence(&mut self, millis: usize) {
        self.audio(&vec![0; 16 * millis]).await;
    }

    async fn message(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(3600), self.0.next());
        next.await.expect("the twin says nothing").expect("the stream ended").unwrap()
    }

    async fn next(&mut self) -> Value {
        serde_json::from_str(self.message().await.to_text().unwrap()).unwrap()
    }

    /// The next message for which `wanted` holds.
    async fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let message = self.next().await;
            if wanted(&message) {
                return message;
            }
        }
    }

    /// Everything that came within the next second, without waiting for more.
    async fn pending(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Ok(message) = tokio::time::timeout(Duration::from_secs(1), self.next()).await {
            messages.push(message);
        }
        messages
    }

    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.message().await {
                let frame = frame.unwrap();
                return (frame.code.into(), frame.reason.as_str().to_owned());
            }
        }
    }
}

fn transcript(results: &Value) -> &str {
    results["channel"]["alternatives"][0]["transcript"].as_str().unwrap()
}

fn is_final(message: &Value) -> bool {
    message["is_final"] == true
}

fn event(name: &str) -> impl Fn(&Value) -> bool + '_ {
    move |message| message["event"] == name
}

#[tokio::test(start_paused = true)]
async fn a_handshake_is_answered_with_a_request_id() {
    let twin = twin();
    let (_client, response) = handshake(&twin, V1, ("authorization", "token key")).await.unwrap();
    let id = response.headers()["dg-request-id"].to_str().unwrap();
    assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 4);
    assert_eq!(twin.stats().streams[0].request_id, id);
    handshake(&twin, V1, ("authorization", "Bearer jwt")).await.unwrap();
    let (_, response) = handshake(&twin, V1, ("sec-websocket-protocol", "token, key")).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "token");
}

#[tokio::test(start_paused = true)]
async fn a_missing_or_wrong_key_is_refused() {
    let twin = Deepgram::new(Config { api_key: Some("right".into()), ..Config::default() });
    for header in [("x-nothing", "1"), ("authorization", "Token wrong"), ("authorization", "Basic right")] {
        let (status, body) = refused(&twin, V1, header).await;
        assert_eq!((status, &body["err_code"]), (401, &Value::from("INVALID_AUTH")));
    }
    handshake(&twin, V1, ("authorization", "Token right")).await.unwrap();
    let (status, _) = refused(&self::twin(), V1, ("authorization", "Token ")).await;
    assert_eq!(status, 401);
}

#[tokio::test(start_paused = true)]
async fn bad_parameters_are_refused() {
    let keyterms = "&keyterm=a".repeat(101);
    let long = format!("{V1}{keyterms}");
    for path in [
        "/v1/listen?model=nova-3&encoding=linear16",
        "/v1/listen?model=nova-3&encoding=mp7&sample_rate=16000",
        "/v1/listen?model=nova-3&encoding=linear16&sample_rate=fast",
        "/v1/listen?model=flux-general-en&encoding=linear16&sample_rate=16000",
        "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&interim_results=yes",
        "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&endpointing=soon",
        "/v1/listen?model=nova-3&encoding=linear16&sample_rate=16000&utterance_end_ms=1000",
        &long,
        "/v2/listen?model=nova-3&encoding=linear16&sample_rate=16000",
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&interim_results=true",
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&eot_threshold=0.4",
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&eot_threshold=0.6&eager_eot_threshold=0.7",
        "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000&eot_timeout_ms=100",
    ] {
        let (status, body) = refused(&twin(), path, ("authorization", "Token key")).await;
        assert_eq!((status, &body["err_code"]), (400, &Value::from("INVALID_QUERY_PARAMETER")), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed_are_refused_until_one_ends() {
    let twin = Deepgram::new(Config { max_streams: 2, ..Config::default() });
    let _first = open(&twin, V1).await;
    let mut second = open(&twin, V1).await;
    let (status, body) = refused(&twin, V1, ("authorization", "Token key")).await;
    assert_eq!((status, &body["err_code"]), (429, &Value::from("TOO_MANY_REQUESTS")));
    second.text(r#"{"type":"CloseStream"}"#).await;
    assert_eq!(second.closed().await.0, 1000);
    drop(second);
    sleep(Duration::from_millis(1)).await;
    open(&twin, V1).await;
}

#[tokio::test(start_paused = true)]
async fn a_scripted_refusal_has_its_status_and_headers() {
    let twin = twin();
    twin.refuse(1, Refusal::status(503).header("retry-after", "2"));
    let response = handshake(&twin, V1, ("authorization", "Token key")).await.map(|_| ()).unwrap_err();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &HeaderValue::from(2))
    );
    open(&twin, V1).await;
}

#[tokio::test(start_paused = true)]
async fn an_utterance_becomes_interims_and_a_speech_final() {
    let twin = twin();
    let path = format!("{V1}&interim_results=true&endpointing=300&vad_events=true&punctuate=true");
    let mut client = open(&twin, &path).await;
    client.silence(500).await;
    client.say("turn on the lamp.").await;
    client.silence(1000).await;
    let started = client.until(|message| message["type"] == "SpeechStarted").await;
    assert!((started["timestamp"].as_f64().unwrap() - 0.5).abs() < 0.03, "{started}");
    let interim =
        client.until(|message| message["is_final"] == false && !transcript(message).is_empty()).await;
    assert!("turn on the lamp.".starts_with(transcript(&interim)), "{interim}");
    let result = client.until(is_final).await;
    assert_eq!(transcript(&result), "turn on the lamp.");
    assert_eq!((&result["speech_final"], &result["from_finalize"]), (&true.into(), &false.into()));
    assert_eq!(result["channel_index"], json!([0, 1]));
    let words = result["channel"]["alternatives"][0]["words"].as_array().unwrap();
    assert_eq!((&words[3]["word"], &words[3]["punctuated_word"]), (&"lamp".into(), &"lamp.".into()));
    let spoken = tones::speak("turn on the lamp.", 16_000).1;
    for (word, spoken) in words.iter().zip(&spoken) {
        assert!((word["start"].as_f64().unwrap() - 0.5 - spoken.start).abs() < 0.02, "{word}");
        assert!((word["end"].as_f64().unwrap() - 0.5 - spoken.end).abs() < 0.02, "{word}");
    }
    assert_eq!(result["metadata"]["request_id"], twin.stats().streams[0].request_id.as_str());
}

#[tokio::test(start_paused = true)]
async fn without_punctuate_words_are_bare_and_without_interim_results_there_are_none() {
    let mut client = open(&twin(), V1).await;
    client.say("well, yes!").await;
    client.silence(300).await;
    let messages = client.pending().await;
    assert!(messages.iter().all(is_final), "{messages:?}");
    assert_eq!(transcript(&messages[0]), "well yes");
    assert!(messages[0]["channel"]["alternatives"][0]["words"][0].get("punctuated_word").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_long_utterance_is_finalised_in_spans_that_join_without_gap() {
    let mut client = open(&twin(), &format!("{V1}&endpointing=300")).await;
    let text =
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen";
    client.say(text).await;
    client.silence(400).await;
    let spans = client.pending().await;
    assert!(spans.len() >= 2 && spans[..spans.len() - 1].iter().all(|span| span["speech_final"] == false));
    assert_eq!(spans.last().unwrap()["speech_final"], true);
    let joined: Vec<&str> = spans.iter().map(transcript).collect();
    assert_eq!(joined.join(" "), text);
    let number = |value: &Value| value.as_f64().unwrap();
    for pair in spans.windows(2) {
        let end = number(&pair[0]["start"]) + number(&pair[0]["duration"]);
        assert!((end - number(&pair[1]["start"])).abs() < 0.001);
    }
}

#[tokio::test(start_paused = true)]
async fn a_span_without_a_whole_word_goes_on_with_interims() {
    let mut client = open(&twin(), &format!("{V1}&interim_results=true&endpointing=300")).await;
    // Some seven seconds, and longer than a span.
    let word = "abcdefghij".repeat(14);
    client.say(&word).await;
    client.silence(400).await;
    let told = client.pending().await;
    let first = told.iter().position(is_final).unwrap();
    assert_eq!(transcript(&told[first]), word);
    let interims: Vec<f64> = told[..first].iter().filter_map(|told| told["duration"].as_f64()).collect();
    assert!(interims.iter().any(|until| *until > 5.0), "{interims:?}");
}

#[tokio::test(start_paused = true)]
async fn utterance_end_follows_the_last_word() {
    let path = format!("{V1}&interim_results=true&utterance_end_ms=1000&endpointing=false");
    let mut client = open(&twin(), &path).await;
    client.say("hello").await;
    client.silence(1500).await;
    let end = client.until(|message| message["type"] == "UtteranceEnd").await;
    let spoken = tones::speak("hello", 16_000).1[0].end;
    assert!((end["last_word_end"].as_f64().unwrap() - spoken).abs() < 0.03, "{end}");
    assert!(client.pending().await.iter().all(|message| message["type"] != "UtteranceEnd"));
}

#[tokio::test(start_paused = true)]
async fn finalize_answers_with_what_was_heard_and_then_with_nothing() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    client.say("good morning").await;
    client.text(r#"{"type":"Finalize"}"#).await;
    let first = client.next().await;
    assert_eq!(
        (transcript(&first), &first["from_finalize"], is_final(&first)),
        ("good morning", &true.into(), true)
    );
    client.text(r#"{"type":"Finalize"}"#).await;
    let second = client.next().await;
    assert_eq!((transcript(&second), &second["from_finalize"]), ("", &true.into()));
    assert_eq!(second["channel"]["alternatives"][0]["confidence"], 0.0);
    assert_eq!(twin.stats().streams[0].finalizes, 2);
}

#[tokio::test(start_paused = true)]
async fn finalize_can_stay_unanswered_be_empty_or_late() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    twin.answer_finalize(Finalize::Nothing);
    client.say("one").await;
    client.text(r#"{"type":"Finalize"}"#).await;
    assert!(client.pending().await.is_empty());
    twin.answer_finalize(Finalize::Empty);
    client.text(r#"{"type":"Finalize"}"#).await;
    let messages = client.pending().await;
    assert_eq!(messages.iter().map(transcript).collect::<Vec<_>>(), ["one", ""]);
    assert_eq!(
        messages.iter().map(|message| message["from_finalize"] == true).collect::<Vec<_>>(),
        [false, true]
    );
    twin.answer_finalize(Finalize::Late(Duration::from_millis(700)));
    let asked = Instant::now();
    client.text(r#"{"type":"Finalize"}"#).await;
    client.next().await;
    assert!(asked.elapsed() >= Duration::from_millis(700));
}

#[tokio::test(start_paused = true)]
async fn audio_that_never_arrived_gives_no_transcript() {
    let mut client = open(&twin(), V1).await;
    let (samples, words) = tones::speak("alpha bravo charlie", 16_000);
    let at = |seconds: f64| (seconds * 16_000.0) as usize;
    client.audio(&samples[..at(words[0].end + 0.03)]).await;
    client.audio(&samples[at(words[2].start - 0.03)..]).await;
    client.text(r#"{"type":"Finalize"}"#).await;
    assert_eq!(transcript(&client.next().await), "alpha charlie");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_drains_at_one_and_a_quarter_of_real_time() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    let second = vec![0u8; 32_000];
    let since = Instant::now();
    for _ in 0..10 {
        client.0.send(Message::binary(second.clone())).await.unwrap();
    }
    client.text(r#"{"type":"Finalize"}"#).await;
    client.until(|message| message["from_finalize"] == true).await;
    let took = since.elapsed().as_secs_f64();
    assert!((6.5..=8.5).contains(&took), "{took}");
    assert!((twin.stats().billed_audio_seconds - 10.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn configure_on_v1_is_acknowledged_or_refused() {
    let mut client = open(&twin(), V1).await;
    client.text(r#"{"type":"Configure","keyterms":["Ansgar"]}"#).await;
    assert_eq!(client.next().await["keyterms"], json!(["Ansgar"]));
    client.text(r#"{"type":"Configure"}"#).await;
    let kept = client.next().await;
    assert_eq!((&kept["type"], &kept["keyterms"]), (&"ConfigureSuccess".into(), &json!(["Ansgar"])));
    client.text(r#"{"type":"Configure","keyterms":"Ansgar"}"#).await;
    assert_eq!(client.next().await["type"], "ConfigureFailure");
}

#[tokio::test(start_paused = true)]
async fn unknown_text_is_ignored_or_closes_as_configured() {
    let mut client = open(&twin(), V1).await;
    client.text("what?").await;
    client.text(r#"{"type":"Finalize"}"#).await;
    assert_eq!(client.next().await["from_finalize"], true);
    let mut client = open(&Deepgram::new(Config { strict_text: true, ..Config::default() }), V1).await;
    client.text("what?").await;
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test(start_paused = true)]
async fn a_script_gives_each_utterance_the_next_sentence() {
    let sentences = vec!["First one.".to_owned(), "And a second, longer one.".to_owned()];
    let config = Config { hearing: Hearing::Script(sentences.clone()), ..Config::default() };
    let mut client = open(&Deepgram::new(config), &format!("{V1}&punctuate=true&endpointing=200")).await;
    let hum: Vec<i16> = (0..16_000).map(|index| if index % 100 < 50 { 6000 } else { -6000 }).collect();
    for sentence in sentences.iter().chain(&sentences[..1]) {
        client.audio(&hum).await;
        client.silence(400).await;
        let result = client.until(|message| is_final(message) && !transcript(message).is_empty()).await;
        assert_eq!(transcript(&result), sentence);
        let words = result["channel"]["alternatives"][0]["words"].as_array().unwrap();
        let end = words.last().unwrap()["end"].as_f64().unwrap();
        let span = (words[0]["start"].as_f64().unwrap(), end);
        assert!((0.9..=1.05).contains(&(span.1 - span.0)), "{span:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_seed_profile_answers_after_the_providers_time() {
    let twin = Deepgram::new(Config { profile: Profile::Seed, ..Config::default() });
    for _ in 0..20 {
        let mut client = open(&twin, V1).await;
        client.say("hi").await;
        let spoken = Instant::now();
        client.text(r#"{"type":"Finalize"}"#).await;
        client.until(|message| message["from_finalize"] == true).await;
        let took = spoken.elapsed().as_millis();
        assert!((60..=420).contains(&took), "{took}");
    }
}

/// Real speech from flite, 16 kHz, or `None` where a program is missing. Continuous integration
/// requires them.
fn real_speech(text: &str) -> Option<(Sphinx, Vec<i16>)> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let flite = std::process::Command::new("flite")
        .args(["-voice", "slt", "-t", text, "-o"])
        .arg(file.path())
        .status();
    let missing = match (flite, Sphinx::start()) {
        (Ok(status), Ok(sphinx)) if status.success() => {
            let wave = std::fs::read(file.path()).unwrap();
            let samples = wave[44..].chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
            return Some((sphinx, samples.collect()));
        }
        (Err(error), _) => format!("flite: {error}"),
        (Ok(status), Ok(_)) => format!("flite: {status}"),
        (_, Err(error)) => error.to_string(),
    };
    println!("not tested, because speech programs are missing: {missing}");
    assert_ne!(std::env::var("LIVOS_REQUIRE_SPEECH").as_deref(), Ok("1"), "{missing}");
    None
}

// In real time, because the recogniser is another process.
#[tokio::test]
async fn real_speech_is_recognised_while_it_is_spoken() {
    let Some((sphinx, speech)) =
        real_speech("hello how are you today, please tell me about the weather in london")
    else {
        return;
    };
    let config = Config { hearing: Hearing::Sphinx(sphinx), intake_cap: None, ..Config::default() };
    let mut client =
        open(&Deepgram::new(config), &format!("{V1}&interim_results=true&endpointing=false")).await;
    client.audio(&speech).await;
    // A busy machine may take its time to look at what was said so far: it gets more time than
    // silence to look at.
    let mut interims = Vec::new();
    while !interims.iter().any(|words: &String| words.contains("hello")) && interims.len() < 100 {
        client.silence(100).await;
        while let Ok(message) = tokio::time::timeout(Duration::from_millis(400), client.next()).await {
            interims.push(transcript(&message).to_owned());
        }
    }
    let released = Instant::now();
    client.text(r#"{"type":"Finalize"}"#).await;
    let result = client.until(|message| message["from_finalize"] == true).await;
    println!("{} ms after the end of speech", released.elapsed().as_millis());
    assert_eq!(transcript(&result), "hello how are you today please tell me about the weather in london");
    println!("interims: {interims:?}");
    assert!(interims.iter().any(|words| words.contains("hello")), "{interims:?}");
    let words = result["channel"]["alternatives"][0]["words"].as_array().unwrap();
    let last = words.last().unwrap()["end"].as_f64().unwrap();
    assert!(last > 0.5 && last <= speech.len() as f64 / 16_000.0 + 0.1, "{last}");
}

#[tokio::test(start_paused = true)]
async fn the_seed_profile_has_a_network_between() {
    let twin = Deepgram::new(Config { profile: Profile::Seed, ..Config::default() });
    for _ in 0..10 {
        let opened = Instant::now();
        let _client = open(&twin, V1).await;
        // TCP, TLS and the handshake: three round trips of 50 to 100 ms.
        let took = opened.elapsed().as_millis();
        assert!((150..=310).contains(&took), "{took}");
    }
}
