//! Any dialogue with pairing keeps the law of machines, and any typed text is read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_core::{secret::Secret, time::Timestamp};
use livos_fuzz::law::{self, Time};
use livos_integrations::pairing::{
    DeviceId, Pairing, PairingCode, PairingConfig, PairingInput, PairingState, Rights, Sender,
};

const SENDERS: [&str; 4] = ["anna", "ben", "cleo", "dora"];

fuzz_target!(|data: &[u8]| {
    if let Ok(typed) = std::str::from_utf8(data)
        && let Some(code) = PairingCode::parse(typed)
    {
        assert!(PairingCode::parse(&code.to_string()).is_some(), "what is shown can be typed");
    }
    let Some((approval, data)) = data.split_first() else { return };
    let mut config = PairingConfig::default();
    config.approval = approval % 2 == 1;
    let state = PairingState::default();
    let mut machine = Pairing::new(config, Secret::new("the server's own key"), state);
    law::play(&mut machine, Timestamp::start(), data, |data, _| {
        let sender = |data: &mut arbitrary::Unstructured<'_>| {
            let channel = ["telegram", "discord"][data.int_in_range(0..=1)?].try_into().expect("a channel");
            let id = *data.choose(&SENDERS)?;
            Ok(Sender::new(channel, id).expect("a sender"))
        };
        let rights = *data.choose(&[Rights::Paired, Rights::Owner])?;
        Ok(match data.int_in_range(0..=5)? {
            0 => PairingInput::Issue {
                channel: "telegram".try_into().expect("a channel"),
                rights,
                entropy: [data.int_in_range(0..=3)?; 32],
            },
            1 => PairingInput::Redeem {
                sender: sender(data)?,
                label: "device".into(),
                code: PairingCode::parse(data.choose(&["22222222", "33333333", "44444444"])?)
                    .expect("a code"),
            },
            2 => PairingInput::Admit { sender: sender(data)?, label: "device".into(), rights },
            3 => PairingInput::Approve(DeviceId(data.int_in_range(0..=9)?)),
            4 => PairingInput::Revoke(DeviceId(data.int_in_range(0..=9)?)),
            _ => PairingInput::RevokeAll,
        })
    });
    assert!(machine.state().devices().len() <= config.devices);
});
