//! Sessions against the twin, in virtual time. What is said is letter tones, so a transcript shows
//! which samples arrived.

use std::time::Duration;

use bytes::Bytes;
use livos_core::secret::Secret;
use livos_twins::{
    Fault, Refusal, Target, Twin as _, When,
    deepgram::{self, Deepgram, Finalize},
    tones,
};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::*;
use crate::{
    audio::{AudioFormat, Frame},
    connect::{self, Connector},
    connection::ConnectionState,
    stt::{SpeechToText, SttCommand, SttEvent, SttSession, TranscriptKind},
};

const FRAME: Duration = Duration::from_millis(20);

fn config() -> Config {
    Config { base_url: "ws://deepgram.test".into(), ..Config::new(Secret::new("key-0123456789")) }
}

fn connector(twin: &Deepgram) -> Connector {
    let twin = twin.clone();
    connect::from_fn(move |_| {
        let twin = twin.clone();
        async move { Ok(twin.connect()) }
    })
}

fn open(twin: &Deepgram, config: Config) -> Rig {
    Rig::new(&Listen::new(config, &ListenConfig::default(), connector(twin)).unwrap())
}

/// A session with its driver running, and everything it told.
struct Rig {
    session: SttSession,
    driver: JoinHandle<()>,
    told: Vec<SttEvent>,
}

impl Rig {
    fn new(provider: &impl SpeechToText) -> Self {
        let (session, driver) = provider.open();
        Self { session, driver: tokio::spawn(driver), told: Vec::new() }
    }

    fn gather(&mut self) {
        while let Ok(event) = self.session.events.try_recv() {
            self.told.push(event);
        }
    }

    async fn wait(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while let Ok(Some(event)) = tokio::time::timeout_at(until, self.session.events.recv()).await {
            self.told.push(event);
        }
        // Also when the channel is closed.
        tokio::time::sleep_until(until).await;
    }

    async fn until(&mut self, wanted: impl Fn(&SttEvent) -> bool) -> Duration {
        let start = Instant::now();
        loop {
            let next = tokio::time::timeout(Duration::from_secs(120), self.session.events.recv());
            let event = next.await.expect("nothing came in time").expect("the session ended");
            let found = wanted(&event);
            self.told.push(event);
            if found {
                return start.elapsed();
            }
        }
    }

    async fn connected(&mut self) {
        self.until(|event| *event == SttEvent::State(ConnectionState::Connected)).await;
    }

    async fn frame(&mut self, samples: &[i16]) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let frame = Frame::new(AudioFormat::SPEECH, Bytes::from(bytes)).unwrap();
        self.session.commands.send(SttCommand::Audio(frame)).await.unwrap();
        sleep(FRAME).await;
        self.gather();
    }

    /// Speaks as a person would, 20 ms at a time.
    async fn say(&mut self, text: &str) {
        for frame in tones::encode(text, 16_000).chunks(320) {
            self.frame(frame).await;
        }
    }

    async fn end_speech(&mut self) -> Duration {
        self.session.commands.send(SttCommand::EndOfSpeech).await.unwrap();
        self.until(|event| *event == SttEvent::Finalized).await
    }

    async fn close(mut self) -> Vec<SttEvent> {
        self.session.commands.send(SttCommand::Close).await.unwrap();
        while let Some(event) = self.session.events.recv().await {
            self.told.push(event);
        }
        self.driver.await.unwrap();
        self.told
    }

    fn heard(&self) -> String {
        heard(&self.told)
    }
}

fn heard(told: &[SttEvent]) -> String {
    let finals = told.iter().filter_map(|event| match event {
        SttEvent::Transcript(transcript) if transcript.kind == TranscriptKind::Final => {
            Some(&*transcript.text)
        }
        _ => None,
    });
    finals.flat_map(str::split_whitespace).collect::<Vec<_>>().join(" ")
}

fn states(told: &[SttEvent]) -> Vec<ConnectionState> {
    let states = told.iter().filter_map(|event| match event {
        SttEvent::State(state) => Some(*state),
        _ => None,
    });
    states.collect()
}

#[tokio::test(start_paused = true)]
async fn a_spoken_sentence_is_heard_with_interims_times_and_a_bill() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open(&twin, config());
    rig.connected().await;
    rig.say("turn on the kitchen light").await;
    assert!(rig.end_speech().await < Duration::from_millis(400));
    assert_eq!(rig.heard(), "turn on the kitchen light");
    let told = rig.close().await;

    assert!(told.iter().any(|event| matches!(event, SttEvent::Transcript(transcript)
        if transcript.kind == TranscriptKind::Interim && transcript.text.starts_with("turn"))));
    let words = told.iter().filter_map(|event| match event {
        SttEvent::Transcript(transcript) if transcript.kind == TranscriptKind::Final => {
            Some(&transcript.words)
        }
        _ => None,
    });
    let words: Vec<_> = words.flatten().collect();
    assert_eq!(words.len(), 5);
    assert!(words.windows(2).all(|pair| pair[0].end < pair[1].start), "{words:?}");
    let Some(SttEvent::Billed(billed)) = told.iter().rev().find(|event| matches!(event, SttEvent::Billed(_)))
    else {
        panic!("no bill")
    };
    let stats = twin.stats();
    assert!((billed.as_secs_f64() - stats.billed_audio_seconds).abs() < 1e-6, "{billed:?} {stats:?}");
    let [first, .., draining, closed] = states(&told)[..] else { panic!("{told:?}") };
    let expected = [ConnectionState::Connecting, ConnectionState::Draining, ConnectionState::Closed];
    assert_eq!([first, draining, closed], expected);
    assert_eq!(twin.stats().open_connections, 0);
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_silence_bills_nothing_and_the_socket_is_still_open() {
    let twin =
        Deepgram::new(deepgram::Config { keep_alive_holds_virgin: true, ..deepgram::Config::default() });
    let mut rig = open(&twin, config());
    rig.wait(Duration::from_secs(3600)).await;
    let stats = twin.stats();
    assert_eq!((stats.billed_audio_seconds, stats.open_streams, stats.total_connections), (0.0, 1, 1));
    assert_eq!(stats.streams[0].keep_alives, 3600 / 4 - 1);
    rig.say("hello there").await;
    rig.end_speech().await;
    assert_eq!(rig.heard(), "hello there");
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_silence_after_speech_adds_nothing_to_the_bill() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open(&twin, config());
    rig.connected().await;
    rig.say("hello").await;
    rig.end_speech().await;
    let billed = twin.stats().billed_audio_seconds;
    rig.wait(Duration::from_secs(3600)).await;
    let stats = twin.stats();
    assert_eq!((stats.billed_audio_seconds, stats.open_streams, stats.total_connections), (billed, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_closes_unused_sockets_is_connected_again_when_there_is_speech() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open(&twin, config());
    rig.wait(Duration::from_secs(3600)).await;
    let stats = twin.stats();
    assert_eq!((stats.billed_audio_seconds, stats.total_connections, stats.open_connections), (0.0, 1, 0));
    assert_eq!(states(&rig.told), [ConnectionState::Connecting, ConnectionState::Connected]);
    rig.say("still here").await;
    rig.end_speech().await;
    assert_eq!(rig.heard(), "still here");
    assert_eq!(twin.stats().total_connections, 2);
    assert_eq!(states(&rig.told).len(), 2, "nobody has to know");
}

#[tokio::test(start_paused = true)]
async fn opening_silence_holds_such_a_socket_for_its_price() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut config = config();
    config.timing.opening_silence = FRAME;
    let mut rig = open(&twin, config);
    rig.wait(Duration::from_secs(3600)).await;
    let stats = twin.stats();
    assert_eq!((stats.billed_audio_seconds, stats.total_connections), (0.02, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_end_of_speech_is_given_up_and_its_words_come_with_the_next() {
    let twin = Deepgram::new(deepgram::Config { finalize: Finalize::Nothing, ..deepgram::Config::default() });
    let mut rig = open(&twin, config());
    rig.connected().await;
    rig.say("one two").await;
    assert_eq!(rig.end_speech().await, config().timing.finalize_timeout);
    twin.answer_finalize(Finalize::Answer);
    rig.say("three").await;
    rig.end_speech().await;
    assert_eq!(rig.heard(), "one two three");
    assert_eq!(twin.stats().total_connections, 1);
}

#[tokio::test(start_paused = true)]
async fn an_empty_answer_and_a_late_answer_lose_no_word() {
    for how in [Finalize::Empty, Finalize::Late(Duration::from_millis(300))] {
        let twin = Deepgram::new(deepgram::Config { finalize: how, ..deepgram::Config::default() });
        let mut rig = open(&twin, config());
        rig.connected().await;
        for _ in 0..3 {
            rig.say("one two three").await;
            rig.end_speech().await;
            rig.wait(Duration::from_millis(100)).await;
        }
        let told = rig.close().await;
        assert_eq!(heard(&told), ["one two three"; 3].join(" "), "{how:?}");
        assert_eq!(told.iter().filter(|event| **event == SttEvent::Finalized).count(), 3, "{how:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_of_speech_with_nothing_to_answer_is_answered_at_once() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open(&twin, config());
    rig.connected().await;
    assert_eq!(rig.end_speech().await, Duration::ZERO);
    assert_eq!(twin.stats().streams[0].finalizes, 0);
}

#[tokio::test(start_paused = true)]
async fn a_bad_key_ends_the_session_without_a_second_attempt() {
    let twin =
        Deepgram::new(deepgram::Config { api_key: Some("other".into()), ..deepgram::Config::default() });
    let mut rig = open(&twin, config());
    rig.wait(Duration::from_secs(60)).await;
    assert!(
        matches!(&rig.told[..], [
            SttEvent::State(ConnectionState::Connecting),
            SttEvent::Failed(reason),
            SttEvent::State(ConnectionState::Closed),
        ] if reason.contains("401") && !reason.contains("key-0123456789")),
        "{:?}",
        rig.told
    );
    assert!(rig.driver.is_finished());
    assert_eq!(twin.stats().total_connections, 1);
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_asked_again_with_growing_waits_and_no_speech_is_lost() {
    let twin = Deepgram::new(deepgram::Config::default());
    twin.refuse(2, Refusal::status(429));
    twin.refuse(1, Refusal::status(503));
    twin.refuse(1, Refusal::status(429).header("retry-after", "20"));
    let mut config = config();
    config.reconnect.backoff.jitter = 0.0;
    let mut rig = open(&twin, config);
    rig.say("said before anyone listened").await;
    rig.end_speech().await;
    assert_eq!(rig.heard(), "said before anyone listened");
    let waits: Vec<_> = states(&rig.told)
        .into_iter()
        .filter_map(|state| match state {
            ConnectionState::Reconnecting { wait, .. } => Some(wait.as_secs()),
            _ => None,
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_mute_provider_is_replaced_in_time_and_the_speech_heard_by_the_next() {
    let twin = Deepgram::new(deepgram::Config::default());
    twin.inject_into(Target::Next(1), Fault::Stall(When::Sent(300)));
    let mut rig = open(&twin, config());
    rig.connected().await;
    rig.say("is there anybody who hears what is being said").await;
    rig.session.commands.send(SttCommand::EndOfSpeech).await.unwrap();
    let start = Instant::now();
    while rig.heard().is_empty() && start.elapsed() < Duration::from_secs(60) {
        rig.wait(FRAME).await;
    }
    rig.wait(Duration::from_secs(10)).await;
    assert_eq!(rig.heard(), "is there anybody who hears what is being said");
    assert_eq!((twin.stats().total_connections, twin.stats().open_connections), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_skipped_or_answered_with_a_new_connection() {
    for fault in [Fault::GarbageMessage(When::Now), Fault::Garbage(When::Now), Fault::HalfMessage(When::Now)]
    {
        let twin = Deepgram::new(deepgram::Config::default());
        let mut rig = open(&twin, config());
        rig.connected().await;
        rig.say("before").await;
        rig.end_speech().await;
        twin.inject(fault.clone());
        rig.say("and while the line is bad").await;
        rig.end_speech().await;
        rig.wait(Duration::from_secs(8)).await;
        assert_eq!(rig.heard(), "before and while the line is bad", "{fault:?}");
        assert_eq!(twin.stats().open_connections, 1, "{fault:?}");
    }
}

/// Says every word of a count to a provider that takes audio this many times faster than it sounds,
/// with its sockets cut after these waits.
async fn count_aloud(words: usize, speed: f64, cuts: &[Duration]) -> Vec<SttEvent> {
    let twin = Deepgram::new(deepgram::Config { intake_cap: Some(speed), ..deepgram::Config::default() });
    let mut config = config();
    config.timing.replay_speed = speed;
    // Cuts come so close together here that the usual measure of a sound connection would make
    // every wait the longest.
    config.reconnect.stable_after = Duration::from_millis(200);
    let mut rig = open(&twin, config);
    rig.connected().await;
    let before = twin.stats().open_connections;
    let text = (0..words).map(|number| format!("w{number}")).collect::<Vec<_>>().join(" ");
    let (mut cut_at, mut cuts) = (Instant::now(), cuts.iter().peekable());
    for frame in tones::encode(&text, 16_000).chunks(320) {
        if cuts.next_if(|wait| cut_at.elapsed() >= **wait).is_some() {
            twin.kill_connections();
            cut_at = Instant::now();
        }
        rig.frame(frame).await;
        assert!(twin.stats().open_connections <= 1, "two live connections");
    }
    assert_eq!(cuts.next(), None, "not all cuts were made");
    rig.end_speech().await;
    rig.wait(Duration::from_secs(1)).await;
    assert_eq!(twin.stats().open_connections, before);
    let told = rig.close().await;
    assert_eq!(twin.stats().open_connections, 0);
    assert_eq!(heard(&told), text);
    told
}

fn random_waits(count: usize, millis: std::ops::Range<u64>) -> Vec<Duration> {
    let mut random = SmallRng::seed_from_u64(100);
    (0..count).map(|_| Duration::from_millis(random.random_range(millis.clone()))).collect()
}

/// The words as they were placed, which must not depend on how many connections carried them.
fn places(told: &[SttEvent]) -> Vec<(String, u128, u128)> {
    let finals = told.iter().filter_map(|event| match event {
        SttEvent::Transcript(transcript) if transcript.kind == TranscriptKind::Final => {
            Some(&transcript.words)
        }
        _ => None,
    });
    // Detection looks at blocks, whose grid lies differently on each connection.
    let grid = |time: Duration| (time.as_millis() + 10) / 20;
    finals.flatten().map(|word| (word.text.clone(), grid(word.start), grid(word.end))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_random_drops_during_continuous_speech_change_no_word() {
    let told = count_aloud(1600, 10.0, &random_waits(100, 100..9000)).await;
    let losses =
        states(&told).into_iter().filter(|state| matches!(state, ConnectionState::Reconnecting { .. }));
    assert!(losses.count() >= 95, "a loss during a reconnect is not told twice, but most are");
}

#[tokio::test(start_paused = true)]
async fn drops_change_no_word_and_no_time_where_the_provider_takes_audio_slowly() {
    let undisturbed = count_aloud(300, 1.25, &[]).await;
    let disturbed = count_aloud(300, 1.25, &random_waits(7, 5000..13_000)).await;
    let near = |one: &(String, u128, u128), other: &(String, u128, u128)| {
        one.0 == other.0 && one.1.abs_diff(other.1) <= 1 && one.2.abs_diff(other.2) <= 1
    };
    let (one, other) = (places(&undisturbed), places(&disturbed));
    assert_eq!(one.len(), 300);
    assert!(one.iter().zip(&other).all(|(one, other)| near(one, other)), "{one:?} {other:?}");
}

mod flux;
