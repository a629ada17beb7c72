//! Peers that complete a handshake and then say whatever the fuzzer makes up, in virtual time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use livos_voice::{
    audio::{AudioFormat, Frame},
    connect::{self, Connector},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// A session that is still not over after this long of virtual time hangs.
const HANGS_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Runs a future to its end in virtual time.
///
/// # Panics
///
/// Where it does not come to an end.
pub fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    runtime.block_on(async { tokio::time::timeout(HANGS_AFTER, work).await.expect("the session hangs") })
}

/// Cuts the fuzzer's bytes into messages at line feeds, so that a corpus can be read: an empty line
/// is half a second of silence, a line that begins with a zero byte is binary, every other one is
/// text.
pub fn script(data: &[u8]) -> Vec<Option<Message>> {
    let message = |line: &[u8]| match line {
        [] => None,
        [0, binary @ ..] => Some(Message::binary(Bytes::copy_from_slice(binary))),
        text => Some(Message::text(String::from_utf8_lossy(text).into_owned())),
    };
    data.split(|byte| *byte == b'\n').take(256).map(message).collect()
}

/// Says the script over a WebSocket whose handshake is done, reads what comes, and hangs up.
pub async fn say<IO: AsyncRead + AsyncWrite + Unpin>(
    socket: tokio_tungstenite::WebSocketStream<IO>,
    script: Vec<Option<Message>>,
) {
    let (mut sink, mut stream) = socket.split();
    let speak = async {
        for message in script {
            let Some(message) = message else {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            };
            if sink.send(message).await.is_err() {
                return;
            }
        }
    };
    let listen = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::select! {
        () = speak => {}
        () = listen => {}
    }
}

/// A provider that says the script on the first connection, and nothing on those after it.
pub fn provider(script: Vec<Option<Message>>) -> Connector {
    let said = Arc::new(AtomicBool::new(false));
    connect::from_fn(move |_| {
        let (near, far) = tokio::io::duplex(64 << 10);
        let script = if said.swap(true, Ordering::SeqCst) { Vec::new() } else { script.clone() };
        tokio::spawn(async move {
            if let Ok(socket) = tokio_tungstenite::accept_async(far).await {
                say(socket, script).await;
            }
        });
        async move { Ok(near) }
    })
}

/// A provider that says these bytes once it was asked something.
pub fn raw(data: &[u8]) -> Connector {
    let bytes = Bytes::copy_from_slice(data);
    connect::from_fn(move |_| {
        let (near, mut far) = tokio::io::duplex(4 << 10);
        let bytes = bytes.clone();
        tokio::spawn(async move {
            let mut head = [0; 1024];
            let _ = far.read(&mut head).await;
            let _ = far.write_all(&bytes).await;
        });
        async move { Ok(near) }
    })
}

/// 20 ms of sound.
pub fn frame() -> Frame {
    let samples: Vec<u8> = (0..320i16).flat_map(|n| (n * 50).to_le_bytes()).collect();
    Frame::new(AudioFormat::SPEECH, Bytes::from(samples)).expect("whole samples")
}
