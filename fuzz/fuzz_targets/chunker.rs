//! Cutting an answer into pieces to speak: the pieces are the text, to the byte.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use livos_voice::tts::{ChunkConfig, Chunker};

fuzz_target!(|tokens: Vec<(String, u8)>| {
    let mut chunker = Chunker::new(ChunkConfig::default());
    let (mut now, mut spoken) = (Instant::now(), String::new());
    for (token, wait) in &tokens {
        chunker.push(now, token);
        while let Some(piece) = chunker.next_piece() {
            assert!(!piece.is_empty());
            spoken.push_str(&piece);
        }
        now += Duration::from_millis((*wait).into());
        if chunker.poll_timeout().is_some_and(|at| at <= now) {
            spoken.extend(chunker.handle_timeout(now));
        }
    }
    spoken.extend(chunker.finish());
    assert_eq!(spoken, tokens.iter().map(|(token, _)| token.as_str()).collect::<String>());
});
