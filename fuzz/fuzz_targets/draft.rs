//! An answer on its way out: any text is cut into parts that fit, and any dialogue keeps the law of
//! machines.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use livos_fuzz::law::{self, Time};
use livos_integrations::sender::{Draft, DraftConfig, DraftInput, Limit, Unit, split};

const PIECES: [&str; 10] = [
    "word ",
    "\n",
    "\n\n",
    "```",
    "```rust\n",
    "~~~\n",
    "🙂👨‍👩‍👧",
    "e\u{301}\u{301}",
    "averyveryverylongword",
    "`",
];

fuzz_target!(|data: &[u8]| {
    let Some(([most, more], data)) = data.split_first_chunk() else { return };
    let unit = if more % 2 == 0 { Unit::Utf16 } else { Unit::Characters };
    let limit = Limit::new((*most).into(), unit);
    if let Ok(text) = std::str::from_utf8(data) {
        let parts = split(text, limit);
        assert!(parts.iter().all(|part| limit.measure(part) <= limit.most() && !part.trim().is_empty()));
        let seen = |text: &str| {
            text.split_whitespace().filter(|word| !word.contains(['`', '~'])).collect::<String>()
        };
        if !text.contains(['`', '~']) {
            assert_eq!(seen(&parts.concat()), seen(text));
        }
    }
    let config = DraftConfig::new(limit, Duration::from_secs(1));
    let mut draft = Draft::new(config, usize::from(more % 3));
    law::play(&mut draft, Instant::start(), data, |data, _| {
        Ok(match data.int_in_range(0..=9)? {
            0 => DraftInput::End,
            1..=3 => DraftInput::Done,
            4 => DraftInput::Later(Duration::from_secs(data.int_in_range(0..=60)?)),
            _ => DraftInput::Text((*data.choose(&PIECES)?).to_owned()),
        })
    });
});
