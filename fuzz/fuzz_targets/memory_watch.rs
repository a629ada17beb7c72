//! Any samples at any times: the end is said once, only past a limit, and no alarm is raised while
//! there is load.
#![no_main]

use std::time::{Duration, Instant};

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use livos_core::supervise::memory::{MemoryConfig, MemoryEvent, MemorySample, MemoryWatch};

fuzz_target!(|data: &[u8]| {
    let mut data = Unstructured::new(data);
    let (Ok(limited), Ok(busy), Ok(limit)) = (data.arbitrary(), data.arbitrary::<bool>(), data.arbitrary())
    else {
        return;
    };
    let config = if limited { MemoryConfig::below(limit) } else { MemoryConfig::default() };
    let (mut now, mut ends, mut watch) = (Instant::now(), 0, MemoryWatch::new(config));
    while let (Ok(wait), Ok(resident), Ok(live)) =
        (data.arbitrary::<u16>(), data.arbitrary(), data.arbitrary::<u8>())
    {
        if data.is_empty() {
            break;
        }
        now += Duration::from_secs(wait.into());
        let live = u64::from(live).max(u64::from(busy));
        for event in watch.sample(now, MemorySample { resident, live, begun: 1 }) {
            match event {
                MemoryEvent::Over(over) => {
                    ends += 1;
                    assert!(Some(over.soft_limit) == config.soft_limit && over.resident > over.soft_limit);
                }
                MemoryEvent::Growing { bytes } => assert!(!busy && bytes > config.growth),
                MemoryEvent::Line(line) => assert_eq!(line.resident, resident),
            }
        }
    }
    assert!(ends <= 1);
});
