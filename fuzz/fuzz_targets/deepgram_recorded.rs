//! The transcript of a recording, from a provider whose answer is anything.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use livos_core::secret::Secret;
use livos_fuzz::peer;
use livos_voice::stt::{
    Recording, Transcriber,
    deepgram::{Config, Recorded, RecordedConfig},
};

fuzz_target!(|data: &[u8]| {
    peer::run(async {
        let mut config = Config::new(Secret::new("key-0123456789"));
        config.base_url = "ws://deepgram.test".into();
        let connector = peer::raw(data);
        let client =
            Recorded::new(&config, RecordedConfig::default(), connector).expect("a valid configuration");
        let recording = Recording { bytes: Bytes::from_static(b"RIFF"), mime: "audio/wav".into() };
        match client.transcribe(recording).await {
            Ok(transcript) => assert!(transcript.words.iter().all(|word| word.start <= word.end)),
            Err(error) => assert!(!error.to_string().contains("key-0123456789")),
        }
    });
});
