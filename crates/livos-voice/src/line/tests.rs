//! A line and a peer over streams in memory, in virtual time.

use futures_util::{SinkExt, StreamExt};
use tokio::{io::DuplexStream, sync::mpsc, time::timeout};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::*;
use crate::connect;

const SECOND: Duration = Duration::from_secs(1);

type Peer = WebSocketStream<DuplexStream>;

/// A line whose every attempt reaches the receiver's owner, over a pipe of this many bytes.
fn line(pipe: usize) -> (Line, mpsc::UnboundedReceiver<DuplexStream>) {
    let (peers, accepted) = mpsc::unbounded_channel();
    let connector = connect::from_fn(move |_| {
        let (ours, theirs) = tokio::io::duplex(pipe);
        let sent = peers.send(theirs);
        async move { sent.map(|()| ours).map_err(|_| "nobody accepts".into()) }
    });
    let request = Request::get("ws://provider.test/").body(()).unwrap();
    let config = LineConfig {
        limits: Limits::default(),
        reconnect: ReconnectConfig::default(),
        keep_alive: KeepAliveConfig::default(),
    };
    (Line::new(connector, request, config, 1), accepted)
}

/// Brings the line to an open connection.
async fn open(line: &mut Line, accepted: &mut mpsc::UnboundedReceiver<DuplexStream>) -> Peer {
    assert!(matches!(line.next().await, LineEvent::Connecting { .. }));
    let peer = async { tokio_tungstenite::accept_async(accepted.recv().await.unwrap()).await.unwrap() };
    let (event, peer) = tokio::join!(line.next(), peer);
    assert!(matches!(event, LineEvent::Opened), "{event:?}");
    line.connected();
    peer
}

/// Sends until there is no room; answers how many messages were taken.
fn fill(line: &mut Line) -> usize {
    (0..1000).take_while(|_| line.send(Message::text("x".repeat(100)))).count()
}

#[tokio::test(start_paused = true)]
async fn a_message_without_room_is_refused_at_once_and_room_is_told() {
    let (mut line, mut accepted) = line(1024);
    let mut peer = open(&mut line, &mut accepted).await;
    let taken = fill(&mut line);
    assert!((1..1000).contains(&taken), "{taken}");
    assert!(!line.has_room());
    let read = async {
        for _ in 0..taken {
            assert!(peer.next().await.unwrap().unwrap().is_text());
        }
    };
    let (event, ()) = tokio::join!(line.next(), read);
    assert!(matches!(event, LineEvent::Room), "{event:?}");
    assert!(line.send(Message::text("more")));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_given_up_although_it_still_speaks() {
    let (mut line, mut accepted) = line(1024);
    let mut peer = open(&mut line, &mut accepted).await;
    fill(&mut line);
    let start = tokio::time::Instant::now();
    loop {
        peer.send(Message::text("still here")).await.unwrap();
        assert!(matches!(line.next().await, LineEvent::Text(_)));
        line.received();
        match timeout(SECOND, line.next()).await {
            Ok(LineEvent::Lost(loss)) => break assert_eq!(loss, Loss::Stalled),
            Ok(LineEvent::Idle) | Err(_) => {}
            Ok(event) => panic!("{event:?}"),
        }
    }
    assert_eq!(start.elapsed(), STALLED_AFTER);
}

#[tokio::test(start_paused = true)]
async fn an_expected_answer_that_does_not_come_loses_the_connection() {
    let (mut line, mut accepted) = line(1024);
    let _peer = open(&mut line, &mut accepted).await;
    line.expect();
    loop {
        match line.next().await {
            LineEvent::Idle => {}
            LineEvent::Lost(loss) => break assert_eq!(loss, Loss::Mute),
            event => panic!("{event:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_connects_again_before_the_owner_asks() {
    let (mut line, mut accepted) = line(1024);
    drop(open(&mut line, &mut accepted).await);
    assert!(matches!(line.next().await, LineEvent::Lost(Loss::Broken(_))));
    assert!(timeout(3600 * SECOND, line.next()).await.is_err());
    line.reconnect();
    assert!(matches!(line.next().await, LineEvent::Waiting { attempt: 1, .. }));
    open(&mut line, &mut accepted).await;
    assert!(accepted.try_recv().is_err(), "one connection for each attempt");
}

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_is_told_and_the_next_waits() {
    let (mut line, accepted) = line(1024);
    drop(accepted);
    assert!(matches!(line.next().await, LineEvent::Connecting { attempt: 1 }));
    assert!(matches!(line.next().await, LineEvent::Failed(OpenError::Connect(_))));
    line.reconnect();
    assert!(matches!(line.next().await, LineEvent::Waiting { attempt: 1, .. }));
}

/// The code that the peer reads.
async fn farewell_of(mut peer: Peer) -> Option<CloseCode> {
    while let Some(message) = timeout(SECOND, peer.next()).await.expect("the stream ends") {
        match message {
            Ok(Message::Close(frame)) => return frame.map(|frame| frame.code),
            Ok(_) => {}
            Err(_) => return None,
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn every_way_to_leave_a_connection_says_goodbye() {
    for leave in ["close", "hang up", "drop"] {
        let (mut line, mut accepted) = line(1024);
        let peer = open(&mut line, &mut accepted).await;
        let left = async {
            match leave {
                "close" => line.close().await,
                "hang up" => line.hang_up(),
                _ => drop(line),
            }
        };
        let (code, ()) = tokio::join!(farewell_of(peer), left);
        assert_eq!(code, Some(CloseCode::Normal), "{leave}");
    }
}

#[tokio::test(start_paused = true)]
async fn closing_does_not_wait_long_for_a_peer_that_does_not_answer() {
    let (mut line, mut accepted) = line(1024);
    let _peer = open(&mut line, &mut accepted).await;
    fill(&mut line);
    let start = tokio::time::Instant::now();
    line.close().await;
    assert_eq!(start.elapsed(), CLOSE_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_full_outbox_keeps_what_it_is_given_and_replaces_only_the_same_kind() {
    let (sender, mut events) = mpsc::channel(1);
    let mut outbox = Outbox::new(sender, 3);
    for event in [1, 2, 3, 13] {
        outbox.push(event, |last, new| last % 10 == new % 10);
    }
    assert!(outbox.is_full());
    outbox.retain(|event| *event != 2);
    assert!(!outbox.is_full());
    let read = async { [events.recv().await, events.recv().await, events.recv().await] };
    let ((), read) = tokio::join!(outbox.finish(), read);
    assert_eq!(read, [Some(1), Some(13), None]);
}
