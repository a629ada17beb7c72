//! What one 20 ms frame costs on its way through a voice session: time by criterion, allocations by
//! a counting allocator.
//!
//! Up: from the browser's socket through transport, gate and session to the Deepgram client's
//! socket. Down: from the Cartesia client's socket, through base64, session and transport to the
//! browser's socket, at 24 kHz and resampled to 48 kHz. The session runs on a thread of its own,
//! and only that thread's allocations are counted; the browser and the providers are bare WebSocket
//! peers on another. Frames go one at a time: the next is sent when the last has come out, so the
//! time holds two hand-overs between threads besides the work.

#![allow(clippy::print_stdout, clippy::expect_used, clippy::unwrap_used, missing_docs)]

use std::{
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use futures_util::{SinkExt, StreamExt};
use livos_core::{
    conversation::{ConversationId, Inbound, Reply, ReplyError, Speaker},
    secret::Secret,
    user::UserId,
};
use livos_voice::{
    connect,
    pipeline::{SessionConfig, VoiceSession},
    stt::deepgram::{Config as DeepgramConfig, Listen, ListenConfig},
    transport::websocket::{self, WebSocketTransport},
    tts::cartesia::{Cartesia, CartesiaConfig},
};
use serde_json::json;
use tokio::{
    io::{DuplexStream, duplex},
    runtime::Builder,
    sync::oneshot,
};
use tokio_tungstenite::{WebSocketStream, accept_async, client_async, tungstenite::Message};

/// Frames before counting begins, and at most in one session: audio may run 30 s ahead of real
/// time, 1500 frames.
const WARM_UP: u64 = 200;
const MOST: u64 = 1_000;
const STREAM: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq)]
enum Path {
    /// Browser to recogniser, push to talk.
    Up,
    /// Browser to recogniser, the server's detector listening.
    UpDetected,
    /// Synthesiser to browser at this rate.
    Down(u32),
}

impl Path {
    fn name(self) -> &'static str {
        match self {
            Self::Up => "up, push to talk",
            Self::UpDetected => "up, open microphone with detector",
            Self::Down(24_000) => "down, 24 kHz",
            Self::Down(_) => "down, resampled to 48 kHz",
        }
    }

    fn hello(self) -> serde_json::Value {
        let (output, mode) = match self {
            Self::Down(rate) => (rate, "push_to_talk"),
            Self::Up => (24_000, "push_to_talk"),
            Self::UpDetected => (24_000, "open_microphone"),
        };
        json!({ "type": "hello", "version": 1, "input_rate": 16_000, "output_rate": output, "mode": mode })
    }
}

async fn answer(_: Inbound) -> Result<Reply, ReplyError> {
    Ok(Reply::from_text("This answer has no end, because the bench goes on."))
}

type Peer = WebSocketStream<DuplexStream>;

/// Runs `frames` frames after the warm-up; answers their time and the session thread's allocations.
fn measure(path: Path, frames: u64) -> (Duration, u64) {
    let (browser, server) = duplex(STREAM);
    let (to_stt, stt_peer) = duplex(STREAM);
    let (to_tts, tts_peer) = duplex(STREAM);
    let (warm, warmed) = oneshot::channel();
    let (done, finished) = oneshot::channel();
    let (resume, resumed) = mpsc::channel();
    let session = thread::spawn(move || run_session(path, server, to_stt, to_tts, warmed, finished, &resume));
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let time = runtime.block_on(async move {
        let mut browser = client_async("ws://bench/", browser).await.expect("the session upgrades").0;
        // The session connects to its providers once it knows its client.
        browser.send(Message::text(path.hello().to_string())).await.expect("the session listens");
        let (stt, tts) =
            tokio::join!(async { accept_async(stt_peer).await.expect("the client connects") }, async {
                accept_async(tts_peer).await.expect("the client connects")
            },);
        let mut peers = Peers { browser, stt, tts, path };
        peers.open().await;
        for _ in 0..WARM_UP {
            peers.frame().await;
        }
        let _ = warm.send(());
        resumed.recv().expect("the session goes on");
        let start = Instant::now();
        for _ in 0..frames {
            peers.frame().await;
        }
        let time = start.elapsed();
        let _ = done.send(());
        time
    });
    (time, session.join().expect("the session thread"))
}

/// The session's side, on this thread alone.
fn run_session(
    path: Path,
    server: DuplexStream,
    to_stt: DuplexStream,
    to_tts: DuplexStream,
    warmed: oneshot::Receiver<()>,
    finished: oneshot::Receiver<()>,
    resume: &mpsc::Sender<()>,
) -> u64 {
    let once = |io: DuplexStream| {
        let io = Arc::new(std::sync::Mutex::new(Some(io)));
        connect::from_fn(move |_| {
            let io = io.lock().unwrap().take().ok_or("the bench has one connection");
            async move { Ok(io?) }
        })
    };
    let stt = Listen::new(DeepgramConfig::new(Secret::new("key")), &ListenConfig::default(), once(to_stt))
        .expect("a client");
    let tts = Cartesia::new(CartesiaConfig::new(Secret::new("key")), once(to_tts)).expect("a client");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut session = Box::pin(async move {
        let socket = tokio_tungstenite::accept_async_with_config(server, Some(websocket::config()))
            .await
            .expect("a browser");
        let config = SessionConfig::new(
            ConversationId::try_from("bench").expect("an id"),
            Speaker::Owner,
            UserId::owner(),
        );
        let session = VoiceSession::new(Arc::new(stt), Arc::new(tts), tower::service_fn(answer), config);
        // Every window is speech, so that the gate is open and each frame takes the whole path; the
        // default detector is paid for in full.
        let session = if path == Path::UpDetected { session.with_vad(Always::default()) } else { session };
        session.run(WebSocketTransport::new(socket)).await;
    });
    runtime.block_on(async {
        tokio::select! {
            () = &mut session => panic!("the session ended"),
            _ = warmed => {}
        }
    });
    resume.send(()).expect("the peers wait");
    let info = allocation_counter::measure(|| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = finished => {}
                () = &mut session => panic!("the session ended"),
            }
        });
    });
    info.count_total
}

/// The default detector's work with a constant answer.
#[derive(Default)]
struct Always(livos_voice::vad::Earshot);

impl livos_voice::vad::Vad for Always {
    fn window(&self) -> usize {
        self.0.window()
    }

    fn score(&mut self, samples: &[i16]) -> f32 {
        std::hint::black_box(self.0.score(samples));
        1.0
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

struct Peers {
    browser: Peer,
    stt: Peer,
    tts: Peer,
    path: Path,
}

impl Peers {
    async fn tell(&mut self, message: serde_json::Value) {
        self.browser.send(Message::text(message.to_string())).await.expect("the session listens");
    }

    /// Brings the session to the point where frames flow.
    async fn open(&mut self) {
        match self.path {
            Path::Up => self.tell(json!({ "type": "press", "at_ms": 0.0 })).await,
            Path::UpDetected => {
                // The detector needs some frames to be sure; the pre-roll comes out with the first
                // that passes.
                for _ in 0..20 {
                    self.browser.send(Message::binary(frame())).await.expect("the session listens");
                }
                self.heard().await;
                while tokio::time::timeout(Duration::from_millis(50), self.stt.next()).await.is_ok() {}
            }
            Path::Down(_) => {
                self.tell(json!({ "type": "text", "text": "hello" })).await;
                let asked = self.tts.next().await.expect("a request").expect("a request");
                assert!(asked.to_text().is_ok_and(|text| text.contains("reply-1-1")), "{asked}");
            }
        }
    }

    /// One frame in, and the same frame out.
    async fn frame(&mut self) {
        if let Path::Down(_) = self.path {
            let chunk = CHUNK.with(Clone::clone);
            self.tts.send(chunk).await.expect("the session listens");
            while !self.browser.next().await.expect("open").expect("open").is_binary() {}
        } else {
            self.browser.send(Message::binary(frame())).await.expect("the session listens");
            self.heard().await;
        }
    }

    async fn heard(&mut self) {
        while !self.stt.next().await.expect("open").expect("open").is_binary() {}
    }
}

fn frame() -> Bytes {
    thread_local!(static FRAME: Bytes = Bytes::from((0..320i16).flat_map(|n| (n * 50).to_le_bytes()).collect::<Vec<u8>>()));
    FRAME.with(Clone::clone)
}

thread_local! {
    /// 20 ms at 24 kHz, as the provider sends it.
    static CHUNK: Message = {
        let audio: Vec<u8> = (0..480i16).flat_map(|n| (n * 50).to_le_bytes()).collect();
        let data = STANDARD.encode(audio);
        Message::text(json!({
            "type": "chunk", "context_id": "reply-1-1", "data": data, "done": false, "status_code": 206, "step_time": 12.5,
        }).to_string())
    };
}

fn frame_path(criterion: &mut Criterion) {
    let paths = [Path::Up, Path::UpDetected, Path::Down(24_000), Path::Down(48_000)];
    println!("allocations of the session's thread in {MOST} frames, after {WARM_UP} of warm-up:");
    for path in paths {
        let (_, allocations) = measure(path, MOST);
        println!("  {:<36} {allocations:>6}   {:.3} a frame", path.name(), allocations as f64 / MOST as f64);
        // Two may come from the runtime when the threads meet for the first time; one a frame, or
        // in ten, is ours.
        assert!(allocations < 10, "{}: frames allocate", path.name());
    }
    let mut group = criterion.benchmark_group("frame_path");
    group.sample_size(10).measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500));
    for path in paths {
        group.bench_function(path.name(), |bencher| {
            bencher.iter_custom(|frames| {
                let (mut left, mut time) = (frames, Duration::ZERO);
                while left > 0 {
                    let some = left.min(MOST);
                    time += measure(path, some).0;
                    left -= some;
                }
                time
            });
        });
    }
    group.finish();
}

criterion_group!(benches, frame_path);
criterion_main!(benches);
