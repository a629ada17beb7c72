//! A whole synthesis session with a provider that may say anything.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::peer;
use livos_voice::{
    generation::Generation,
    tts::{
        TextToSpeech, TtsCommand,
        cartesia::{Cartesia, CartesiaConfig},
    },
};

fuzz_target!(|data: &[u8]| {
    peer::run(async {
        let mut config = CartesiaConfig::new(Secret::new("key-0123456789"));
        config.base_url = http::Uri::from_static("ws://cartesia.test");
        let connector = peer::provider(peer::script(data));
        let provider = Cartesia::new(config, connector).expect("a valid configuration");
        let (mut session, driver) = provider.open();
        let speak = async move {
            for number in 1..=2 {
                let generation = Generation(number);
                let text = "Hello there, and good morning. ".to_owned();
                let _ = session.commands.send(TtsCommand::Speak { generation, text }).await;
                let _ = session.commands.send(TtsCommand::Finish(generation)).await;
                for _ in 0..20 {
                    let next = tokio::time::timeout(std::time::Duration::from_secs(1), session.events.recv());
                    if !matches!(next.await, Ok(Some(_))) {
                        break;
                    }
                }
            }
            let _ = session.commands.send(TtsCommand::Cancel(Generation(2))).await;
            let _ = session.commands.send(TtsCommand::Close).await;
            while session.events.recv().await.is_some() {}
        };
        tokio::join!(driver, speak);
    });
});
