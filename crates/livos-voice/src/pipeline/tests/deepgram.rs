//! The same sessions with the Deepgram client, against its twin: what is recognised was really
//! sent.

use std::sync::atomic::{AtomicBool, Ordering};

use livos_core::secret::Secret;
use livos_twins::{Twin as _, deepgram::Deepgram, tones};

use super::*;
use crate::{
    connect,
    stt::deepgram::{Config, Listen, ListenConfig},
};

async fn play(twin: &Deepgram, hello: Value) -> Call {
    play_while(twin, hello, Arc::new(AtomicBool::new(true))).await
}

/// The twin answers while it is `reachable`.
async fn play_while(twin: &Deepgram, hello: Value, reachable: Arc<AtomicBool>) -> Call {
    let host = twin.clone();
    let connector = connect::from_fn(move |_| {
        let (host, reachable) = (host.clone(), reachable.load(Ordering::Relaxed));
        async move { if reachable { Ok(host.connect()) } else { Err("no route to the host".into()) } }
    });
    let config =
        Config { base_url: "ws://deepgram.test".into(), ..Config::new(Secret::new("key-0123456789")) };
    let listen = Listen::new(config, &ListenConfig::default(), connector).unwrap();
    let mut call = Scene { hello, stt: Some(Arc::new(listen)), ..Scene::default() }.play().await;
    call.wait(500).await;
    call
}

impl Call {
    /// Says `text` in letter tones, in real time.
    async fn say(&mut self, text: &str) {
        let samples = tones::encode(text, 16_000);
        for frame in samples.chunks(320) {
            let bytes: Vec<u8> = frame.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            self.client.send(Message::binary(bytes)).await.unwrap();
            self.wait(20).await;
        }
    }

    /// Says `text` as a client that detects speech itself, and waits for the answer.
    async fn ask_aloud(&mut self, text: &str) {
        self.vad("speaking").await;
        self.say(text).await;
        self.vad("quiet").await;
        self.wait(5000).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_asked_by_button_is_recognised_and_answered() {
    let twin = Deepgram::new(livos_twins::deepgram::Config::default());
    let mut call = play(&twin, json!({})).await;
    for _ in 0..2 {
        let at_ms = call.at_ms();
        call.send(json!({ "type": "press", "at_ms": at_ms })).await;
        call.say("turn on the lamp").await;
        let at_ms = call.at_ms();
        call.send(json!({ "type": "release", "at_ms": at_ms })).await;
        call.wait(5000).await;
    }
    let asked: Vec<String> = call.asked().iter().map(|text| text.to_lowercase()).collect();
    assert_eq!(asked.len(), 2, "{asked:?}");
    assert!(asked.iter().all(|text| text.starts_with("turn on the lamp")), "{asked:?}");
    assert_eq!(call.states(), ["listening", "thinking", "speaking", "idle"].repeat(2));
    call.leave().await;
    assert_eq!(twin.stats().open_connections, 0);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_silence_bills_nothing_and_keeps_the_socket() {
    let twin = Deepgram::new(livos_twins::deepgram::Config::default());
    let mut call = play(&twin, open_microphone()).await;
    // A stream that never had audio is not held by keep-alives, in the stricter reading of the
    // provider's documents.
    call.ask_aloud("good morning").await;
    let before = twin.stats().billed_audio_seconds;
    let noise: Vec<u8> = (0..16_000i16).flat_map(|n| (n % 40 - 20).to_le_bytes()).collect();
    for _ in 0..360 {
        call.client.send(Message::binary(noise.clone())).await.unwrap();
        call.wait(10_000).await;
    }
    let stats = twin.stats();
    assert_eq!((stats.billed_audio_seconds - before, stats.open_streams), (0.0, 1), "{stats:?}");
    assert_eq!(stats.total_connections, 1, "one socket all the time");
    // And it still hears.
    call.ask_aloud("hello there").await;
    assert_eq!(call.asked().len(), 2, "{:?}", call.asked());
}

#[tokio::test(start_paused = true)]
async fn a_question_that_could_not_be_heard_is_said_so_and_answered_when_it_can_be() {
    let twin = Deepgram::new(livos_twins::deepgram::Config::default());
    let reachable = Arc::new(AtomicBool::new(false));
    let mut call = play_while(&twin, json!({}), Arc::clone(&reachable)).await;
    let at_ms = call.at_ms();
    call.send(json!({ "type": "press", "at_ms": at_ms })).await;
    call.say("turn on the lamp").await;
    let at_ms = call.at_ms();
    call.send(json!({ "type": "release", "at_ms": at_ms })).await;
    call.wait(7000).await;
    assert_eq!(call.all("error")[0]["code"], "speech_unavailable");
    assert_eq!((call.asked(), call.states().last()), (vec![], Some(&"idle")));
    reachable.store(true, Ordering::Relaxed);
    call.wait(25_000).await;
    let asked: Vec<String> = call.asked().iter().map(|text| text.to_lowercase()).collect();
    assert!(asked.len() == 1 && asked[0].starts_with("turn on the lamp"), "{asked:?}");
    assert_eq!(call.states().last(), Some(&"idle"));
    call.leave().await;
}
