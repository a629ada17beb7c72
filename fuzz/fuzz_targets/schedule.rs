//! Any cron expression and time zone: a next time that lies ahead, or a refusal.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use livos_core::{
    queue::{Cadence, Repeat},
    time::Timestamp,
};

fuzz_target!(|input: (u64, bool, &str)| {
    let (seed, interval, text) = input;
    // From 1970 to 2100.
    let now = Timestamp::from_unix_ms(i64::try_from(seed % 4_102_444_800_000).expect("within range"));
    let (expression, zone) = text.split_once('\n').unwrap_or((text, "Europe/Berlin"));
    let cadence = if interval {
        Cadence::Every(Duration::from_millis(seed))
    } else {
        Cadence::Cron { expression: expression.to_owned(), zone: zone.to_owned() }
    };
    let repeat = Repeat::new("job", "kind".try_into().expect("a kind"), "payload", cadence);
    if let Ok(next) = repeat.after(now) {
        assert!(next > now, "{next:?} is not after {now:?}");
    }
});
