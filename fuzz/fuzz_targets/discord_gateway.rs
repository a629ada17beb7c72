//! Any dialogue with Discord's gateway keeps the law of machines.
#![no_main]

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use livos_fuzz::law::{self, Time};
use livos_integrations::discord::gateway::{
    Fatal, Gateway, GatewayConfig, GatewayInput, Incoming, Presence, Session,
};

fuzz_target!(|data: &[u8]| {
    let Some((seed, data)) = data.split_first() else { return };
    let session = |sequence| Session { id: "s".into(), resume_url: "wss://resume.test".into(), sequence };
    let mut machine =
        Gateway::new(GatewayConfig::default(), (seed % 2 == 0).then(|| session(7)), (*seed).into());
    law::play(&mut machine, Instant::start(), data, |data, _| {
        Ok(match data.int_in_range(0..=17)? {
            0 => GatewayInput::Start,
            1 => GatewayInput::IdentifyAllowed,
            2 => {
                GatewayInput::IdentifyDenied { wait: Duration::from_millis(data.arbitrary::<u32>()?.into()) }
            }
            3 => GatewayInput::Opened,
            4 => GatewayInput::NotOpened {
                retry_after: data.arbitrary::<Option<u16>>()?.map(|s| Duration::from_secs(s.into())),
            },
            5 => GatewayInput::Message(Incoming::Hello {
                heartbeat_interval: Duration::from_millis(data.arbitrary()?),
            }),
            6 => GatewayInput::Message(Incoming::HeartbeatRequest),
            7 => GatewayInput::Message(Incoming::HeartbeatAck),
            8 => GatewayInput::Message(Incoming::Reconnect),
            9 => GatewayInput::Message(Incoming::InvalidSession { resumable: data.arbitrary()? }),
            10 => GatewayInput::Message(Incoming::Ready(session(data.arbitrary()?))),
            11 => GatewayInput::Message(Incoming::Resumed { sequence: data.arbitrary()? }),
            12 => GatewayInput::Message(Incoming::Dispatch { sequence: data.arbitrary()? }),
            13 => GatewayInput::Lost { code: data.arbitrary()? },
            14 => GatewayInput::Processed { session: "s".into(), sequence: data.arbitrary()? },
            15 => GatewayInput::Overwhelmed,
            16 => GatewayInput::Show(Presence { idle: data.arbitrary()?, text: String::new() }),
            _ if data.ratio(1, 4)? => GatewayInput::Refused(Fatal::InvalidIntents),
            _ => GatewayInput::Drain,
        })
    });
});
