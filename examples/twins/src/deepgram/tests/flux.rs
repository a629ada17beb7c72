//! Flux: turns instead of results.

use super::*;

const FLUX: &str = "/v2/listen?model=flux-general-en&encoding=linear16&sample_rate=16000";

#[tokio::test(start_paused = true)]
async fn flux_tells_a_turn_from_start_to_end() {
    let mut client = open(&twin(), FLUX).await;
    let connected = client.next().await;
    assert_eq!((&connected["type"], &connected["sequence_id"]), (&"Connected".into(), &0.into()));
    client.silence(300).await;
    client.say("Hello there.").await;
    client.silence(500).await;
    client.say("Again.").await;
    client.silence(500).await;
    let messages = client.pending().await;
    for (index, message) in messages.iter().enumerate() {
        assert_eq!(message["sequence_id"], index + 1);
    }
    let turns: Vec<_> = messages.iter().filter(|message| message["event"] != "Update").collect();
    let told: Vec<_> =
        turns.iter().map(|turn| (turn["event"].as_str().unwrap(), &turn["turn_index"])).collect();
    let (zero, one) = (Value::from(0), Value::from(1));
    assert_eq!(
        told,
        [("StartOfTurn", &zero), ("EndOfTurn", &zero), ("StartOfTurn", &one), ("EndOfTurn", &one)]
    );
    assert_eq!((&turns[1]["transcript"], &turns[1]["trigger"]), (&"hello there.".into(), &"model".into()));
    assert_eq!(turns[3]["transcript"], "again.");
    let updates = messages.iter().filter(|message| message["event"] == "Update").count();
    assert!((4..=14).contains(&updates), "{updates}");
}

#[tokio::test(start_paused = true)]
async fn an_eager_end_is_taken_back_when_the_user_goes_on() {
    let mut client = open(&twin(), &format!("{FLUX}&eager_eot_threshold=0.5&eot_threshold=0.9")).await;
    client.say("one two").await;
    client.silence(150).await;
    client.say("three").await;
    client.silence(800).await;
    let messages = client.pending().await;
    let turns: Vec<_> = messages
        .iter()
        .filter(|message| message["type"] == "TurnInfo" && message["event"] != "Update")
        .collect();
    let told: Vec<_> = turns
        .iter()
        .map(|turn| (turn["event"].as_str().unwrap(), turn["transcript"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("StartOfTurn", ""),
            ("EagerEndOfTurn", "one two"),
            ("TurnResumed", "one two"),
            ("EagerEndOfTurn", "one two three"),
            ("EndOfTurn", "one two three"),
        ]
    );
    assert!(turns[1]["end_of_turn_confidence"].as_f64().unwrap() >= 0.5);
}

#[tokio::test(start_paused = true)]
async fn force_end_turn_ends_a_turn_and_is_ignored_between_turns() {
    let mut client = open(&twin(), &format!("{FLUX}&eot_threshold=1.0&eot_timeout_ms=30000")).await;
    client.text(r#"{"type":"ForceEndTurn"}"#).await;
    client.say("stop now").await;
    client.silence(2000).await;
    client.text(r#"{"type":"ForceEndTurn"}"#).await;
    let end = client.until(event("EndOfTurn")).await;
    assert_eq!(
        (&end["transcript"], &end["trigger"], &end["turn_index"]),
        (&"stop now".into(), &"manual".into(), &0.into())
    );
    assert!(client.pending().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_threshold_of_one_leaves_the_end_to_the_timeout() {
    let mut client = open(&twin(), &format!("{FLUX}&eot_threshold=1.0&eot_timeout_ms=1500")).await;
    client.say("hm").await;
    client.silence(1700).await;
    let end = client.until(event("EndOfTurn")).await;
    assert_eq!(end["trigger"], "timeout");
    let silent = end["audio_window_end"].as_f64().unwrap() - tones::speak("hm", 16_000).1[0].end;
    assert!((silent - 1.5).abs() < 0.05, "{silent}");
}

#[tokio::test(start_paused = true)]
async fn an_open_turn_hears_nothing_more_without_audio() {
    let mut client = open(&twin(), FLUX).await;
    client.audio(&tones::encode("wait", 16_000)[..16 * 250]).await;
    client.until(event("StartOfTurn")).await;
    sleep(Duration::from_secs(8)).await;
    assert!(client.pending().await.iter().all(|message| message["event"] != "EndOfTurn"));
}

#[tokio::test(start_paused = true)]
async fn flux_configure_is_merged_or_refused_as_a_whole() {
    let mut client = open(&twin(), FLUX).await;
    client.next().await;
    client
        .text(r#"{"type":"Configure","thresholds":{"eager_eot_threshold":0.4,"eot_timeout_ms":6000}}"#)
        .await;
    let reply = client.next().await;
    assert_eq!(reply["type"], "ConfigureSuccess");
    assert_eq!(
        reply["thresholds"],
        json!({"eager_eot_threshold": 0.4, "eot_threshold": 0.7, "eot_timeout_ms": 6000})
    );
    client.text(r#"{"type":"Configure","thresholds":{"eot_threshold":7},"keyterms":["x"]}"#).await;
    assert_eq!(client.next().await["type"], "ConfigureFailure");
    client.text(r#"{"type":"Configure","keyterms":["y"]}"#).await;
    let reply = client.next().await;
    assert_eq!((&reply["thresholds"]["eot_threshold"], &reply["keyterms"]), (&0.7.into(), &json!(["y"])));
}

#[tokio::test(start_paused = true)]
async fn flux_answers_nonsense_with_an_error_and_closes() {
    let mut client = open(&twin(), FLUX).await;
    client.text("{}").await;
    let error = client.until(|message| message["type"] == "Error").await;
    assert!(error["code"].is_string() && error["description"].is_string() && error["sequence_id"] == 1);
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test(start_paused = true)]
async fn flux_closes_when_idle_and_pings_hold_it() {
    let mut client = open(&twin(), FLUX).await;
    for _ in 0..10 {
        sleep(Duration::from_secs(10)).await;
        client.0.send(Message::Ping(Vec::new().into())).await.unwrap();
    }
    let since = Instant::now();
    assert_eq!(client.closed().await.0, 1011);
    assert!((24.0..26.0).contains(&since.elapsed().as_secs_f64()), "{:?}", since.elapsed());
}

// In real time, because the recogniser is another process.
#[tokio::test]
async fn flux_understands_real_speech_at_the_end_of_a_turn() {
    let Some((sphinx, speech)) = real_speech("what time is it") else { return };
    let config = Config { hearing: Hearing::Sphinx(sphinx), intake_cap: None, ..Config::default() };
    let mut client = open(&Deepgram::new(config), FLUX).await;
    client.audio(&speech).await;
    client.silence(600).await;
    let end = client.until(event("EndOfTurn")).await;
    assert_eq!((&end["transcript"], &end["trigger"]), (&"what time is it".into(), &"model".into()));
}
