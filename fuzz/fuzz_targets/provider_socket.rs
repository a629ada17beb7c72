//! The WebSocket handshake and framing with a provider whose bytes are anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::peer;
use livos_voice::stt::{
    SpeechToText, SttCommand,
    deepgram::{Config, Listen, ListenConfig},
};

fuzz_target!(|data: &[u8]| {
    peer::run(async {
        let mut config = Config::new(Secret::new("key-0123456789"));
        config.base_url = "ws://deepgram.test".into();
        let connector = peer::raw(data);
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
