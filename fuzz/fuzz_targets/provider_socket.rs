//! The WebSocket handshake and framing with a provider whose bytes are anything.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::peer;
use livos_voice::{
    connect,
    stt::{
        SpeechToText, SttCommand,
        deepgram::{Config, Listen, ListenConfig},
    },
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fuzz_target!(|data: &[u8]| {
    let bytes = Bytes::copy_from_slice(data);
    peer::run(async {
        let mut config = Config::new(Secret::new("key-0123456789"));
        config.base_url = "ws://deepgram.test".into();
        let connector = connect::from_fn(move |_| {
            let (near, mut far) = tokio::io::duplex(4 << 10);
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _ = far.read(&mut head).await;
                let _ = far.write_all(&bytes).await;
            });
            async move { Ok(near) }
        });
        let provider =
            Listen::new(config, &ListenConfig::default(), connector).expect("a valid configuration");
        let (mut session, driver) = provider.open();
        let speak = async move {
            let _ = session.commands.send(SttCommand::Audio(peer::frame())).await;
            let _ = session.commands.send(SttCommand::EndOfSpeech).await;
            let _ = session.commands.send(SttCommand::Close).await;
            while session.events.recv().await.is_some() {}
        };
        tokio::join!(driver, speak);
    });
});
