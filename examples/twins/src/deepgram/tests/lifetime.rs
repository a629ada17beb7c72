//! How long a stream lives: what closes it, and what keeps it open.

use super::*;

#[tokio::test(start_paused = true)]
async fn close_stream_flushes_tells_metadata_and_closes() {
    let mut client = open(&twin(), V1).await;
    client.say("bye").await;
    client.text(r#"{"type":"CloseStream"}"#).await;
    assert_eq!(transcript(&client.next().await), "bye");
    let metadata = client.next().await;
    assert_eq!((&metadata["type"], &metadata["channels"]), (&"Metadata".into(), &1.into()));
    let sounded = tones::duration("bye");
    assert!((metadata["duration"].as_f64().unwrap() - sounded).abs() < 0.011, "{metadata} {sounded}");
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test(start_paused = true)]
async fn an_empty_binary_message_closes_the_stream() {
    let mut client = open(&twin(), V1).await;
    client.silence(100).await;
    client.0.send(Message::binary(Vec::new())).await.unwrap();
    assert_eq!(client.closed().await.0, 1000);
}

#[tokio::test(start_paused = true)]
async fn silence_of_audio_and_text_closes_with_net_0001() {
    let mut client = open(&twin(), V1).await;
    client.silence(100).await;
    let since = Instant::now();
    let (code, reason) = client.closed().await;
    assert_eq!(code, 1011);
    assert_eq!(
        reason,
        "Deepgram did not receive audio data or a text message within the timeout window. See https://dpgr.am/net0001"
    );
    assert!((9.9..10.1).contains(&since.elapsed().as_secs_f64()));
}

#[tokio::test(start_paused = true)]
async fn keep_alives_hold_a_stream_for_an_hour_and_bill_nothing() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    client.silence(20).await;
    for _ in 0..900 {
        client.text(r#"{"type":"KeepAlive"}"#).await;
        sleep(Duration::from_secs(4)).await;
    }
    let stats = twin.stats();
    assert_eq!((stats.open_streams, stats.streams[0].keep_alives), (1, 900));
    assert!((stats.billed_audio_seconds - 0.02).abs() < 1e-9);
    assert!(client.pending().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn keep_alives_do_not_hold_a_stream_that_never_had_audio_unless_configured() {
    for holds in [false, true] {
        let twin = Deepgram::new(Config { keep_alive_holds_virgin: holds, ..Config::default() });
        let mut client = open(&twin, V1).await;
        let opened = Instant::now();
        for _ in 0..6 {
            sleep(Duration::from_secs(4)).await;
            let _ = client.0.send(Message::text(r#"{"type":"KeepAlive"}"#)).await;
            if twin.stats().open_streams == 0 {
                break;
            }
        }
        assert_eq!(client.closed().await.0, 1011);
        assert_eq!(opened.elapsed().as_secs_f64() >= 30.0, holds, "{:?}", opened.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_control_message_as_binary_is_audio() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    client.0.send(Message::binary(br#"{"type":"Finalize" }"#.to_vec())).await.unwrap();
    assert!(client.pending().await.is_empty());
    assert_eq!(twin.stats().streams[0].finalizes, 0);
    assert!((twin.stats().billed_audio_seconds - 10.0 / 16_000.0).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn undecodable_audio_closes_with_data_0000() {
    let mut client = open(&twin(), "/v1/listen?model=nova-3").await;
    client.silence(20).await;
    let (code, reason) = client.closed().await;
    assert!(code == 1008 && reason.contains("data0000"), "{code} {reason}");
}
