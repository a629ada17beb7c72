//! Sessions that say a sentence where the answer is late.

use super::*;

/// A scene whose answer takes so long, with one opener after the default time.
fn waiting(ms: u64) -> Scene {
    let opener = OpenerConfig::new(["Let me see."]);
    Scene { says: vec!["What time is it?"], slow: Duration::from_millis(ms), opener, ..Scene::default() }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_late_is_opened_with_a_sentence_that_is_no_part_of_it() {
    let mut call = waiting(2000).play().await;
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

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_not_opened() {
    // With the recogniser's 150 ms the text is there 50 ms before an opener would be.
    let mut call = waiting(650).play().await;
    call.ask().await;
    call.wait(4000).await;
    assert_eq!(call.spoken(), "One two three four five.");
    assert_eq!(call.all("waterfall")[0].get("opener"), None);
}

#[tokio::test(start_paused = true)]
async fn who_interrupts_an_opener_has_heard_nothing_of_the_answer() {
    let mut call = waiting(2000).play().await;
    call.ask().await;
    // The opener begins after 900 ms and lasts 600 ms; the answer would begin after 2200 ms.
    call.wait(1700).await;
    assert_eq!(call.spoken(), "Let me see.");
    let at_ms = call.at_ms();
    call.send(json!({ "type": "press", "at_ms": at_ms })).await;
    call.wait(3000).await;
    assert_eq!(call.all("reply_end")[0]["heard"], "Let me see.");
    assert_eq!(call.spoken(), "Let me see.");
    // The reply was not there yet, so nobody could be told that nothing was heard.
    assert_eq!(call.heard(), []);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_interrupted_is_remembered_without_its_opener() {
    let mut call = waiting(2000).play().await;
    call.ask().await;
    // The first two words of the answer.
    call.wait(2660).await;
    let at_ms = call.at_ms();
    call.send(json!({ "type": "press", "at_ms": at_ms })).await;
    call.wait(5).await;
    assert_eq!(call.all("reply_end")[0]["heard"], "Let me see. One two");
    assert_eq!(call.heard(), [("One two".to_owned(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_an_opener_is_excused() {
    let mut call = Scene { answer: Err(()), ..waiting(2000) }.play().await;
    call.ask().await;
    call.wait(5000).await;
    assert_eq!(call.spoken(), "Let me see. Sorry, I cannot answer just now.");
}

#[tokio::test(start_paused = true)]
async fn who_types_or_has_no_voice_is_not_told_to_wait() {
    let mut call = waiting(2000).play().await;
    call.send(json!({ "type": "text", "text": "Hello" })).await;
    call.wait(5000).await;
    assert_eq!(call.spoken(), "One two three four five.");
    let mut call = Scene { mute: true, ..waiting(2000) }.play().await;
    call.ask().await;
    call.wait(5000).await;
    assert_eq!(call.all("reply")[0]["text"], "One two three four five.");
}
