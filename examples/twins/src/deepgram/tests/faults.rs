//! Connections that break, stall, drop and crawl.

use super::*;

#[tokio::test(start_paused = true)]
async fn killed_connections_end_abruptly_and_are_not_counted() {
    let twin = twin();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(open(&twin, V1).await);
    }
    assert_eq!(twin.stats().open_connections, 3);
    assert_eq!(twin.kill_connections(), 3);
    assert_eq!(twin.stats().open_connections, 0);
    for client in &mut clients {
        let end = client.0.next().await;
        assert!(!matches!(end, Some(Ok(_))), "{end:?}");
    }
    let stats = twin.stats();
    assert_eq!((stats.open_streams, stats.total_connections), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_stream_takes_everything_and_says_nothing() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    client.silence(20).await;
    twin.inject(Fault::Stall(When::Now));
    client.say("hello").await;
    client.text(r#"{"type":"Finalize"}"#).await;
    assert!(client.pending().await.is_empty());
    assert_eq!(twin.stats().streams[0].finalizes, 1);
}

#[tokio::test(start_paused = true)]
async fn half_a_message_garbage_and_a_drop_end_the_stream() {
    for fault in [
        Fault::HalfMessage(When::Now),
        Fault::Garbage(When::Now),
        Fault::Drop(When::Elapsed(Duration::from_millis(5))),
    ] {
        let twin = twin();
        let mut client = open(&twin, V1).await;
        client.silence(20).await;
        twin.inject(fault.clone());
        let _ = client.0.send(Message::text(r#"{"type":"Finalize"}"#)).await;
        let mut end = client.0.next().await;
        if matches!(fault, Fault::Drop(_)) {
            end = client.0.next().await;
        }
        assert!(!matches!(end, Some(Ok(Message::Text(_)))), "{fault:?} {end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_garbage_message_is_no_json_and_a_close_has_its_reason() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    twin.inject(Fault::GarbageMessage(When::Now));
    client.text(r#"{"type":"Finalize"}"#).await;
    let message = client.message().await;
    assert!(serde_json::from_str::<Value>(message.to_text().unwrap()).is_err());
    client.text(r#"{"type":"Finalize"}"#).await;
    assert_eq!(client.next().await["type"], "Results");
    twin.inject(Fault::Close { when: When::Messages(1), code: 1013, reason: "try again later".into() });
    client.text(r#"{"type":"Finalize"}"#).await;
    client.next().await;
    assert_eq!(client.closed().await, (1013, "try again later".into()));
}

#[tokio::test(start_paused = true)]
async fn every_connection_drops_at_a_seeded_time() {
    let lifetimes = |seed| async move {
        let twin = Deepgram::new(Config { seed, ..Config::default() });
        let range = When::Between(Duration::from_millis(100), Duration::from_millis(900));
        twin.inject_into(Target::Each, Fault::Drop(range));
        let mut lifetimes = Vec::new();
        for _ in 0..5 {
            let opened = Instant::now();
            let mut client = open(&twin, V1).await;
            while matches!(client.0.next().await, Some(Ok(_))) {}
            lifetimes.push(opened.elapsed());
        }
        lifetimes
    };
    let first = lifetimes(1).await;
    assert!(first.iter().all(|lifetime| (100..=901).contains(&lifetime.as_millis())), "{first:?}");
    assert_eq!(first, lifetimes(1).await);
    assert_ne!(first, lifetimes(2).await);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stream_delivers_at_its_rate() {
    let twin = twin();
    let mut client = open(&twin, V1).await;
    client.silence(20).await;
    twin.inject(Fault::Slow { when: When::Now, bytes_per_second: 500 });
    let since = Instant::now();
    client.text(r#"{"type":"Finalize"}"#).await;
    let size = client.message().await.len();
    let took = since.elapsed().as_secs_f64();
    assert!(took >= (size as f64 - 512.0) / 500.0 && took > 0.3, "{size} bytes in {took}");
}
