//! A client and its twin over streams in memory, in virtual time. The twin speaks in letter tones,
//! so what was heard can be read back.

use std::time::Duration;

use livos_core::secret::Secret;
use livos_twins::{Fault, Profile, Refusal, Target, Twin as _, When, cartesia as twin, tones};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    connect,
    connection::ConnectionState,
    generation::Generation,
    tts::{SpokenWord, TtsCommand, TtsEvent},
};

const RATE: u32 = 24_000;
const ONE: Generation = Generation(1);
const TWO: Generation = Generation(2);

fn paced() -> twin::Config {
    twin::Config { profile: Profile::Seed, ..twin::Config::default() }
}

/// A session with its driver running, and what a listener heard of the newest generation.
struct Rig {
    twin: twin::Cartesia,
    session: TtsSession,
    driver: JoinHandle<()>,
    audio: Vec<i16>,
    words: Vec<SpokenWord>,
    truncations: usize,
    billed: u64,
}

impl Rig {
    async fn new(config: twin::Config) -> Self {
        let mut rig = Self::opening(twin::Cartesia::new(config));
        rig.until(|event| *event == TtsEvent::State(ConnectionState::Connected)).await;
        rig
    }

    fn opening(twin: twin::Cartesia) -> Self {
        let far = twin.clone();
        let connector = connect::from_fn(move |_| {
            let far = far.clone();
            async move { Ok(far.connect()) }
        });
        let config = CartesiaConfig {
            base_url: http::Uri::from_static("ws://cartesia.test"),
            ..CartesiaConfig::new(Secret::new("key-0123456789"))
        };
        let (session, driver) = Cartesia::new(config, connector).unwrap().open();
        let driver = tokio::spawn(driver);
        Self { twin, session, driver, audio: Vec::new(), words: Vec::new(), truncations: 0, billed: 0 }
    }

    async fn command(&mut self, command: TtsCommand) {
        self.session.commands.send(command).await.unwrap();
    }

    async fn speak(&mut self, generation: Generation, text: &str) {
        self.command(TtsCommand::Speak { generation, text: text.to_owned() }).await;
    }

    async fn say(&mut self, generation: Generation, text: &str) {
        self.speak(generation, text).await;
        self.command(TtsCommand::Finish(generation)).await;
    }

    /// Takes events as a listener does that honours truncation, until one is `wanted`.
    async fn until(&mut self, wanted: impl Fn(&TtsEvent) -> bool) -> TtsEvent {
        loop {
            let next = timeout(Duration::from_secs(600), self.session.events.recv());
            let event = next.await.expect("nothing came in time").expect("the session ended");
            self.hear(&event);
            if wanted(&event) {
                return event;
            }
        }
    }

    fn hear(&mut self, event: &TtsEvent) {
        match event {
            TtsEvent::Audio { frame, .. } => self.audio.extend(frame.iter()),
            TtsEvent::Words { words, .. } => self.words.extend(words.iter().cloned()),
            TtsEvent::Truncate { at, .. } => {
                self.truncations += 1;
                self.audio.truncate((at.as_secs_f64() * f64::from(RATE)).round() as usize);
                self.words.retain(|word| word.start < *at);
            }
            TtsEvent::Billed(characters) => self.billed = *characters,
            _ => {}
        }
    }

    async fn done(&mut self, generation: Generation) {
        let end = |event: &TtsEvent| matches!(event, TtsEvent::Done(_) | TtsEvent::Failed { .. });
        assert_eq!(self.until(end).await, TtsEvent::Done(generation));
    }

    /// The words in the audio so far.
    fn heard(&self) -> String {
        let words: Vec<_> = tones::decode(&self.audio, RATE).into_iter().map(|word| word.text).collect();
        words.join(" ")
    }

    /// Takes events for some time.
    async fn wait(&mut self, time: Duration) -> Vec<TtsEvent> {
        let until = Instant::now() + time;
        let mut events = Vec::new();
        while let Ok(Some(event)) = tokio::time::timeout_at(until, self.session.events.recv()).await {
            self.hear(&event);
            events.push(event);
        }
        events
    }

    fn transcripts(&self) -> Vec<String> {
        self.twin.stats().transcripts.into_iter().map(|context| context.text).collect()
    }

    async fn close(mut self) {
        self.command(TtsCommand::Close).await;
        self.until(|event| *event == TtsEvent::State(ConnectionState::Closed)).await;
        self.driver.await.unwrap();
        // The twin is a network's round trip away.
        sleep(Duration::from_millis(200)).await;
        assert_eq!(self.twin.stats().open_connections, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_generation_is_spoken_completely_and_its_words_lie_where_they_sound() {
    let mut rig = Rig::new(paced()).await;
    rig.say(ONE, "Hello there, my friend.").await;
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "hello there, my friend.");
    let expected = tones::speak("Hello there, my friend.", RATE).1;
    assert_eq!(rig.words.len(), expected.len());
    for (word, expected) in rig.words.iter().zip(expected) {
        assert_eq!(word.text, expected.text);
        assert!((word.start.as_secs_f64() - expected.start).abs() < 0.001, "{word:?}");
        assert!((word.end.as_secs_f64() - expected.end).abs() < 0.001, "{word:?}");
    }
    rig.wait(Duration::from_millis(10)).await;
    assert_eq!((rig.billed, rig.twin.stats().billed_characters), (23, 23));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn continuations_join_verbatim_in_one_context() {
    let mut rig = Rig::new(paced()).await;
    for piece in ["Well,", " then: ", "go on. ", "Yes!"] {
        rig.speak(ONE, piece).await;
        rig.wait(Duration::from_millis(20)).await;
    }
    rig.command(TtsCommand::Finish(ONE)).await;
    rig.done(ONE).await;
    assert_eq!(rig.transcripts(), ["Well, then: go on. Yes!"]);
    assert_eq!(rig.heard(), "well, then: go on. yes!");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn no_frame_of_a_cancelled_generation_comes_after_the_next_began() {
    let mut rig = Rig::new(paced()).await;
    rig.say(ONE, "this is a long and winding sentence that nobody wants to hear").await;
    rig.wait(Duration::from_millis(200)).await;
    assert!(!rig.audio.is_empty());
    rig.command(TtsCommand::Cancel(ONE)).await;
    rig.say(TWO, "the new reply").await;
    rig.audio.clear();
    let mut fresh = Vec::new();
    loop {
        match rig.until(|event| matches!(event, TtsEvent::Audio { .. } | TtsEvent::Done(_))).await {
            TtsEvent::Audio { generation, frame } if generation == TWO => fresh.extend(frame.iter()),
            TtsEvent::Audio { .. } => assert!(fresh.is_empty(), "old audio in the middle of the new"),
            event => {
                assert_eq!(event, TtsEvent::Done(TWO));
                break;
            }
        }
    }
    let words: Vec<_> = tones::decode(&fresh, RATE).into_iter().map(|word| word.text).collect();
    assert_eq!(words.join(" "), "the new reply");
    // The old generation runs on at the provider; nothing of it is passed on.
    let late = rig.wait(Duration::from_secs(5)).await;
    assert!(!late.iter().any(|event| matches!(event, TtsEvent::Audio { .. } | TtsEvent::Words { .. })));
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_replaced_before_the_provider_closes_it() {
    let mut rig = Rig::new(paced()).await;
    let events = rig.wait(Duration::from_secs(299)).await;
    assert!(events.contains(&TtsEvent::State(ConnectionState::Connected)), "{events:?}");
    let stats = rig.twin.stats();
    assert_eq!((stats.open_connections, stats.total_connections), (1, 2));
    rig.say(ONE, "still here").await;
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "still here");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn text_of_a_slow_model_comes_in_a_fresh_context() {
    let mut rig = Rig::new(paced()).await;
    rig.speak(ONE, "One moment, ").await;
    rig.wait(Duration::from_secs(4)).await;
    rig.speak(ONE, "it is done. ").await;
    // Still within the time in which the context may be dying.
    rig.wait(Duration::from_millis(1_100)).await;
    rig.say(ONE, "Anything else?").await;
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "one moment, it is done. anything else?");
    assert_eq!(rig.transcripts().concat(), "One moment, it is done. Anything else?");
    assert_eq!(rig.truncations, 0);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_provider_is_tried_again_and_a_refusal_is_not() {
    let mut rig = Rig::new(paced()).await;
    rig.twin.fail(2, 429);
    rig.say(ONE, "after all").await;
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "after all");
    rig.twin.fail(1, 402);
    rig.say(TWO, "never").await;
    let end = rig.until(|event| matches!(event, TtsEvent::Done(_) | TtsEvent::Failed { .. })).await;
    assert!(matches!(end, TtsEvent::Failed { generation: TWO, .. }), "{end:?}");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_marks_alone_ends_at_once_and_one_that_begins_with_them_is_spoken() {
    let mut rig = Rig::new(paced()).await;
    rig.say(ONE, "👍").await;
    rig.done(ONE).await;
    rig.speak(TWO, "… ").await;
    rig.say(TWO, "all is well").await;
    rig.done(TWO).await;
    assert_eq!(rig.transcripts(), ["… all is well"]);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_mute_connection_is_replaced_and_the_reply_goes_on() {
    let mut rig = Rig::new(paced()).await;
    rig.say(ONE, "one two three four five six seven eight").await;
    rig.wait(Duration::from_millis(150)).await;
    rig.twin.inject(Fault::Stall(When::Now));
    let begun = Instant::now();
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "one two three four five six seven eight");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(rig.twin.stats().total_connections, 2);
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_key_ends_the_session() {
    let twin = twin::Cartesia::new(twin::Config::default());
    twin.refuse(1, Refusal::status(401));
    let mut rig = Rig::opening(twin);
    rig.until(|event| matches!(event, TtsEvent::Refused(_))).await;
    rig.until(|event| *event == TtsEvent::State(ConnectionState::Closed)).await;
    rig.driver.await.unwrap();
    assert_eq!(rig.twin.stats().total_connections, 1);
}

#[tokio::test(start_paused = true)]
async fn samples_cut_in_half_are_put_together_again() {
    let mut rig = Rig::new(twin::Config { odd_chunks: true, ..paced() }).await;
    rig.say(ONE, "one two three four").await;
    rig.done(ONE).await;
    assert_eq!(rig.heard(), "one two three four");
    rig.close().await;
}

/// The words that a number says, all different from their neighbours.
fn long_text(random: &mut SmallRng, words: usize) -> String {
    let word = |n: usize| format!("{}{n}", ["so", "we", "go", "on", "and"][random.random_range(0..5)]);
    (0..words).map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_hundred_dropped_connections_lose_no_word_and_repeat_none() {
    let mut random = SmallRng::seed_from_u64(7);
    let mut rig = Rig::new(paced()).await;
    let (mut drops, mut reply) = (0, 0);
    while drops < 100 {
        reply += 1;
        let generation = Generation(reply);
        let text = long_text(&mut random, 60);
        (rig.audio, rig.words) = (Vec::new(), Vec::new());
        rig.say(generation, &text).await;
        let audio_or_end = |event: &TtsEvent| matches!(event, TtsEvent::Audio { .. } | TtsEvent::Done(_));
        // Where the session waits to connect again there is nothing to drop, and nothing is
        // counted.
        while rig.until(audio_or_end).await != TtsEvent::Done(generation) {
            let after = Duration::from_millis(random.random_range(1..400));
            if rig.wait(after).await.contains(&TtsEvent::Done(generation)) {
                break;
            }
            drops += rig.twin.kill_connections();
        }
        assert_eq!(rig.heard(), text, "reply {reply} after {drops} drops");
        let words: Vec<_> = rig.words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(words.join(" "), text, "the words of reply {reply}");
    }
    assert!(rig.truncations > 20, "{}", rig.truncations);
    rig.wait(Duration::from_secs(60)).await;
    assert_eq!(rig.twin.stats().open_connections, 1, "as many as at the beginning");
    rig.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_broken_half_message_loses_no_word() {
    for fault in [Fault::HalfMessage(When::Messages(9)), Fault::Garbage(When::Messages(9))] {
        let mut rig = Rig::opening(twin::Cartesia::new(paced()));
        rig.twin.inject_into(Target::Next(1), fault.clone());
        rig.say(ONE, "one two three four five six seven eight").await;
        rig.done(ONE).await;
        assert_eq!(rig.heard(), "one two three four five six seven eight", "{fault:?}");
        assert_eq!(rig.twin.stats().total_connections, 2, "{fault:?}");
        rig.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_holds_up_no_interruption() {
    let connector = connect::from_fn(|_| async {
        let (ours, theirs) = tokio::io::duplex(512);
        tokio::spawn(async move {
            let _socket = tokio_tungstenite::accept_async(theirs).await.unwrap();
            std::future::pending::<()>().await;
        });
        Ok(ours)
    });
    let mut config = CartesiaConfig::new(Secret::new("key-0123456789"));
    config.mute_after = Duration::from_secs(60);
    let (session, driver) = Cartesia::new(config, connector).unwrap().open();
    let driver = tokio::spawn(driver);
    let twin = twin::Cartesia::new(twin::Config::default());
    let mut rig =
        Rig { twin, session, driver, audio: Vec::new(), words: Vec::new(), truncations: 0, billed: 0 };
    rig.until(|event| *event == TtsEvent::State(ConnectionState::Connected)).await;
    for _ in 0..3 {
        rig.speak(ONE, &"a long sentence, ".repeat(20)).await;
    }
    rig.wait(Duration::from_secs(1)).await;
    let start = Instant::now();
    rig.command(TtsCommand::Cancel(ONE)).await;
    rig.until(|event| matches!(event, TtsEvent::Billed(_))).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    let replaced = |event: &TtsEvent| matches!(event, TtsEvent::State(ConnectionState::Reconnecting { .. }));
    rig.until(replaced).await;
    assert!(start.elapsed() <= Duration::from_secs(5), "a stalled connection is replaced");
}
