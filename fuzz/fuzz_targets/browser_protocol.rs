//! The browser protocol with a client that may send anything.
#![no_main]

use std::{future::poll_fn, time::Duration};

use libfuzzer_sys::fuzz_target;
use livos_fuzz::peer;
use livos_voice::transport::{
    AudioTransport, Incoming,
    websocket::{WebSocketTransport, config},
};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};

fuzz_target!(|data: &[u8]| {
    peer::run(async {
        let (near, far) = tokio::io::duplex(64 << 10);
        let client = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let server = WebSocketStream::from_raw_socket(far, Role::Server, Some(config())).await;
        let mut transport = WebSocketTransport::new(server);
        let serve = async {
            let mut greeted = false;
            while let Some(incoming) = poll_fn(|cx| transport.poll_receive(cx)).await {
                let hello = matches!(incoming, Incoming::Hello(_));
                assert_eq!(hello, !greeted, "a hello comes first and once");
                greeted = true;
            }
        };
        let served = async { tokio::time::timeout(Duration::from_secs(3600), serve).await };
        let ((), served) = tokio::join!(peer::say(client, peer::script(data)), served);
        served.expect("a client that is gone ends its session");
    });
});
