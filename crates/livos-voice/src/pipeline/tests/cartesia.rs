//! The same sessions with the Cartesia client, against its twin: what is heard was really spoken.

use livos_core::secret::Secret;
use livos_twins::{Profile, Twin as _, cartesia as twin, tones};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    connect,
    tts::cartesia::{Cartesia, CartesiaConfig},
};

const STORY: &str = "Long ago a keeper lit the lamp each night, and the ships knew his light. One morning the fog would not lift, so he sat \
    awake and saw the sea by day. It was green and wide and full of sails, and he forgot the lamp. That night every ship lit one for him.";

fn speaker(twin: &twin::Cartesia) -> Arc<dyn TextToSpeech> {
    let host = twin.clone();
    let connector = connect::from_fn(move |_| {
        let host = host.clone();
        async move { Ok(host.connect()) }
    });
    let config = CartesiaConfig {
        base_url: http::Uri::from_static("ws://cartesia.test"),
        ..CartesiaConfig::new(Secret::new("key-0123456789"))
    };
    Arc::new(Cartesia::new(config, connector).unwrap())
}

/// What comes out of a loudspeaker that plays each sample when it can, is silent while it has none,
/// and can't take back what it played.
fn played(call: &Call) -> Vec<i16> {
    const RATE: f64 = 24_000.0;
    enum Step<'a> {
        Audio(&'a [i16]),
        Truncate(usize),
    }
    let audio = call.pieces.iter().map(|(at, samples)| (*at, Step::Audio(samples)));
    let cuts = call.told.iter().filter(|(_, told)| told["type"] == "truncate").map(|(at, told)| {
        (*at, Step::Truncate((told["at_ms"].as_f64().unwrap() / 1000.0 * RATE).round() as usize))
    });
    let mut steps: Vec<_> = cuts.chain(audio).collect();
    steps.sort_by_key(|(at, _)| *at);
    let (mut out, mut buffer, mut position, mut clock) = (Vec::new(), Vec::new(), 0, Duration::ZERO);
    for (at, step) in steps {
        let could = ((at - clock).as_secs_f64() * RATE) as usize;
        let until = buffer.len().min(position + could);
        out.extend_from_slice(&buffer[position..until]);
        out.resize(out.len() + could - (until - position), 0);
        (position, clock) = (until, at);
        match step {
            Step::Audio(samples) => buffer.extend_from_slice(samples),
            Step::Truncate(at) => {
                buffer.truncate(at);
                position = position.min(buffer.len());
            }
        }
    }
    out.extend_from_slice(&buffer[position..]);
    out
}

fn words(samples: &[i16]) -> String {
    let words: Vec<_> = tones::decode(samples, 24_000).into_iter().map(|word| word.text).collect();
    words.join(" ")
}

fn plain(text: &str) -> Vec<String> {
    text.split_whitespace().map(|word| word.trim_end_matches([',', '.']).to_lowercase()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_breaks_in_its_first_word_begins_again_and_is_heard_whole() {
    let twin = twin::Cartesia::new(twin::Config { profile: Profile::Seed, ..twin::Config::default() });
    let scene = Scene { answer: Ok(STORY), tts: Some(speaker(&twin)), ..Scene::default() };
    let mut call = scene.play().await;
    call.wait(1000).await;
    call.send(json!({ "type": "text", "text": "tell me a story" })).await;
    while call.pieces.is_empty() {
        call.wait(10).await;
    }
    call.wait(20).await;
    assert_eq!(twin.kill_connections(), 1);
    while call.all("reply_end").is_empty() {
        call.wait(1000).await;
    }
    assert_eq!(call.all("truncate")[0]["at_ms"], 0.0);
    assert_eq!(plain(&words(&played(&call))), plain(STORY));
    call.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_story_is_heard_without_gap_or_repeat_though_its_socket_drops_again_and_again() {
    let (mut random, mut drops, mut truncations) = (SmallRng::seed_from_u64(3), 0, 0);
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    while drops < 100 {
        let twin = twin::Cartesia::new(twin::Config { profile: Profile::Seed, ..twin::Config::default() });
        // Drops without an end in sight would make the session go on as text.
        let voice_patience = Duration::from_secs(600);
        let scene =
            Scene { answer: Ok(STORY), tts: Some(speaker(&twin)), voice_patience, ..Scene::default() };
        let mut call = scene.play().await;
        call.wait(1000).await;
        call.send(json!({ "type": "text", "text": "tell me a story" })).await;
        while call.all("reply_end").is_empty() {
            call.wait(random.random_range(300..6000)).await;
            drops += twin.kill_connections();
        }
        assert_eq!(plain(&words(&played(&call))), plain(STORY), "after {drops} drops");
        assert_eq!(call.heard(), [(STORY.to_owned(), true)]);
        truncations += call.all("truncate").len();
        call.leave().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!((twin.stats().open_connections, tasks()), (0, before));
    }
    assert!(truncations > 20, "{truncations} of {drops} drops met a word that was not complete");
}

#[tokio::test(start_paused = true)]
async fn a_synthesiser_that_is_unreachable_or_mute_leaves_the_answer_as_text() {
    for mute in [false, true] {
        let held: Arc<Mutex<Vec<DuplexStream>>> = Arc::default();
        let connector = connect::from_fn(move |_| {
            let held = Arc::clone(&held);
            async move {
                let (near, far) = tokio::io::duplex(1 << 16);
                held.lock().unwrap().push(far);
                if mute { Ok(near) } else { Err("no route to the host".into()) }
            }
        });
        let config = CartesiaConfig::new(Secret::new("key-0123456789"));
        let tts = Arc::new(Cartesia::new(config, connector).unwrap());
        let mut call = Scene { says: vec!["Count."], tts: Some(tts), ..Scene::default() }.play().await;
        call.ask().await;
        call.wait(10_000).await;
        assert_eq!(call.all("error")[0]["code"], "voice_unavailable", "mute: {mute}");
        assert_eq!(call.all("reply")[0]["text"], "One two three four five.");
        assert_eq!(call.heard(), [("One two three four five.".to_owned(), true)]);
        assert_eq!(call.states().last(), Some(&"idle"));
    }
}
