//! What Discord sends, over the gateway and to an endpoint, and what a job holds: any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_integrations::discord::{Event, Interaction, gateway::Incoming};

fuzz_target!(|data: &[u8]| {
    let _ = Incoming::parse(&String::from_utf8_lossy(data));
    if let Ok(interaction) = Interaction::parse(data) {
        let _ = interaction.text();
        let event = Event::Interaction(interaction);
        let written = event.to_bytes().expect("an event is JSON");
        assert_eq!(Event::from_bytes(&written).expect("and is read again"), event);
    }
    if let Ok(event) = Event::from_bytes(data) {
        let _ = (event.dedupe_key(), event.conversation());
    }
});
