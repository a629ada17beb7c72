//! The protocol's rules as a client meets them, over an in-memory socket.

use std::future::poll_fn;

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;

const HELLO: &str = r#"{"type":"hello","version":1,"input_rate":16000,"output_rate":24000}"#;

type Client = WebSocketStream<DuplexStream>;

async fn pair() -> (Client, WebSocketTransport<DuplexStream>) {
    let (near, far) = tokio::io::duplex(1 << 16);
    let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
    let server = WebSocketStream::from_raw_socket(far, Role::Server, Some(config())).await;
    (client, WebSocketTransport::new(server))
}

/// What the server hands over until the connection is over.
async fn serve(mut transport: WebSocketTransport<DuplexStream>) -> Vec<Incoming> {
    let mut received = Vec::new();
    while let Some(incoming) = poll_fn(|cx| transport.poll_receive(cx)).await {
        received.push(incoming);
    }
    received
}

/// Sends `messages` and answers with the error code told, and the close code.
async fn refusal(messages: Vec<Message>) -> (Option<String>, Option<u16>) {
    let (client, transport) = pair().await;
    let (mut sink, mut stream) = client.split();
    let write = async move {
        for message in messages {
            // A server that has refused need not read the rest.
            if sink.send(message).await.is_err() {
                break;
            }
        }
    };
    let read = async move {
        let (mut told, mut closed) = (None, None);
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Text(text) => {
                    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                    told = told.or(json["code"].as_str().map(str::to_owned));
                }
                Message::Close(frame) => closed = frame.map(|frame| frame.code.into()),
                _ => {}
            }
        }
        (told, closed)
    };
    tokio::join!(read, write, serve(transport)).0
}

#[tokio::test(start_paused = true)]
async fn every_fatal_error_is_told_and_closes_with_its_code() {
    let text = |text: &str| Message::text(text.to_owned());
    let audio = |length: usize| Message::binary(vec![0u8; length]);
    let flood = || std::iter::once(text(HELLO)).chain((0..11).map(|_| audio(96_000)));
    for (messages, code, close) in [
        (vec![text(r#"{"type":"stop"}"#)], "expected_hello", 4400),
        (vec![audio(640)], "expected_hello", 4400),
        (vec![], "expected_hello", 4400),
        (vec![text(HELLO), text(HELLO)], "already_open", 4400),
        (vec![text(&HELLO.replace(":1,", ":9,"))], "unsupported_version", 4406),
        (vec![text(&HELLO.replace("16000", "8000"))], "unsupported_format", 4406),
        (vec![text("hello?")], "malformed", 4400),
        (vec![text(HELLO), text(&format!("\"{}\"", "x".repeat(20_000)))], "too_large", 1009),
        (vec![text(HELLO), audio(200_000)], "too_large", 1009),
        (vec![text(HELLO), audio(641)], "odd_audio", 4400),
        (flood().collect(), "too_fast", 4429),
    ] {
        let expected = (Some(code.to_owned()), Some(close));
        assert_eq!(refusal(messages.clone()).await, expected, "{messages:.60?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_out_of_order_is_told_and_the_session_goes_on() {
    let (mut client, mut transport) = pair().await;
    for text in [HELLO, r#"{"type":"release","at_ms":5}"#, r#"{"type":"stop"}"#] {
        client.send(Message::text(text)).await.unwrap();
    }
    let mut receive = async || poll_fn(|cx| transport.poll_receive(cx)).await;
    assert!(matches!(receive().await, Some(Incoming::Hello(_))));
    assert_eq!(receive().await, Some(Incoming::Message(super::super::protocol::ClientMessage::Stop)));
    let told = client.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(told.contains("out_of_order") && told.contains("\"fatal\":false"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_clear_overtakes_audio_that_has_not_left() {
    let (mut client, mut transport) = pair().await;
    client.send(Message::text(HELLO)).await.unwrap();
    assert!(matches!(poll_fn(|cx| transport.poll_receive(cx)).await, Some(Incoming::Hello(_))));
    let audio =
        |generation| Outgoing::Audio { generation: Generation(generation), bytes: Bytes::from(vec![1; 960]) };
    for _ in 0..1000 {
        transport.send(audio(1));
    }
    transport.send(Outgoing::Message(ServerMessage::Clear { generation: Generation(1) }));
    transport.send(audio(2));
    transport.send(Outgoing::Close(None));
    assert_eq!(transport.queue.len(), 3);
    let read = async {
        let mut kinds = Vec::new();
        while let Some(Ok(message)) = client.next().await {
            kinds.push((message.is_text(), message.is_binary(), message.is_close()));
        }
        kinds
    };
    let (kinds, _) = tokio::join!(read, serve(transport));
    assert_eq!(kinds, [(true, false, false), (false, true, false), (false, false, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed() {
    let (mut client, mut transport) = pair().await;
    client.send(Message::text(HELLO)).await.unwrap();
    assert!(poll_fn(|cx| transport.poll_receive(cx)).await.is_some());
    for _ in 0..100 {
        transport.send(Outgoing::Audio { generation: Generation(1), bytes: Bytes::from(vec![0; 96_000]) });
    }
    assert!(transport.queued_bytes <= MAX_QUEUED_BYTES + 96_000);
    assert_eq!(poll_fn(|cx| transport.poll_receive(cx)).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_answers_no_ping_is_gone_and_one_that_does_is_kept() {
    let (mut client, transport) = pair().await;
    client.send(Message::text(HELLO)).await.unwrap();
    let start = Instant::now();
    assert_eq!(serve(transport).await.len(), 1);
    assert!((45..=60).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());

    let (mut client, transport) = pair().await;
    client.send(Message::text(HELLO)).await.unwrap();
    let answer = async { while let Some(Ok(_)) = client.next().await {} };
    let hour =
        tokio::time::timeout(Duration::from_secs(3600), async { tokio::join!(serve(transport), answer) });
    assert!(hour.await.is_err(), "still open");
}

#[tokio::test(start_paused = true)]
async fn a_close_without_an_answer_ends_in_bounded_time() {
    let (client, mut transport) = pair().await;
    transport.send(Outgoing::Close(None));
    let start = Instant::now();
    assert!(serve(transport).await.is_empty());
    assert!(start.elapsed() <= CLOSE_TIMEOUT);
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_close_of_the_client_is_answered() {
    let (mut client, transport) = pair().await;
    let talk = async {
        client.close(None).await.unwrap();
        let mut answered = false;
        while let Some(Ok(message)) = client.next().await {
            answered |= message.is_close();
        }
        answered
    };
    assert!(tokio::join!(talk, serve(transport)).0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn nothing_a_client_sends_panics(
        messages in prop::collection::vec(
            prop_oneof![
                "\\PC{0,40}".prop_map(Message::text),
                Just(Message::text(HELLO)),
                Just(Message::text(r#"{"type":"press","at_ms":1e308}"#)),
                prop::collection::vec(any::<u8>(), 0..50).prop_map(Message::binary),
                prop::collection::vec(any::<u8>(), 0..50).prop_map(|bytes| Message::Ping(bytes.into())),
            ],
            0..12,
        )
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (mut client, transport) = pair().await;
            let talk = async {
                for message in messages {
                    if client.send(message).await.is_err() {
                        break;
                    }
                }
                let _ = client.close(None).await;
                while let Some(Ok(_)) = client.next().await {}
            };
            tokio::join!(talk, serve(transport));
        });
    }

    #[test]
    fn no_bytes_on_the_wire_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut near, far) = tokio::io::duplex(1 << 16);
            let server = WebSocketStream::from_raw_socket(far, Role::Server, Some(config())).await;
            let talk = async move {
                near.write_all(&bytes).await.unwrap();
                let mut sink = Vec::new();
                let _ = near.read_to_end(&mut sink).await;
            };
            tokio::join!(talk, serve(WebSocketTransport::new(server)));
        });
    }
}
