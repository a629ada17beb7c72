//! Any bytes: a sealed value that opens as what was sealed, or an error; and a text of keys that is
//! read as it was written, or an error.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use livos_core::{seal::KeyRing, secret::Secret};

static RING: LazyLock<KeyRing> = LazyLock::new(|| {
    let digits = "0123456789abcdef".repeat(4);
    KeyRing::parse(&Secret::new(format!("livos-key-v1:{digits}"))).expect("a key")
});
const NAME: &str = "livos:oauth:token:anna";

fuzz_target!(|data: &[u8]| {
    assert!(RING.open(NAME, data).is_err(), "nobody but the ring can seal");
    let mut sealed = RING.seal(NAME, data).expect("a short secret");
    assert_eq!(RING.open(NAME, &sealed).expect("what was sealed").expose(), data);
    if let Some((at, byte)) = data.split_first().filter(|(_, rest)| !rest.is_empty()) {
        let at = usize::from(*at) % sealed.len();
        sealed[at] ^= byte[0];
        assert_eq!(RING.open(NAME, &sealed).is_ok(), byte[0] == 0, "a change at {at}");
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ring) = KeyRing::parse(&Secret::new(text))
    {
        let again = KeyRing::parse(&ring.text()).expect("what was written");
        assert!(again.ids().eq(ring.ids()));
    }
});
