//! Discord's gateway, version 10: one WebSocket over which messages and interactions come.
//!
//! [`Gateway`] decides and [`Listener`] acts. What users of other bots suffer from is decided in
//! the machine and tested in virtual time: a peer that is open but mute, storms of reconnects,
//! sessions begun so often that Discord resets the token.
//!
//! An event is *processed* when what it asks for is durable, and only then does its number advance,
//! durably too. A session that is lost altogether leaves a gap; the messages of known channels in
//! it are fetched over HTTP. A first message ever in a channel, written into such a gap, can't be
//! found this way: Discord offers a bot no list of its direct channels.

mod close;
mod config;
mod event;
mod intake;
mod listener;
mod machine;
mod progress;
mod sends;
mod socket;
#[cfg(test)]
mod tests;
mod wire;

pub use self::{
    close::{AfterClose, Fatal, after_close},
    config::ListenerConfig,
    event::{Command, GatewayInput, GatewayOutput, Incoming, Presence, Session, Stop},
    intake::ListenError,
    listener::Listener,
    machine::{Gateway, GatewayConfig},
    progress::IdentifyLimits,
    wire::{InvalidPayload, MAX_PAYLOAD, PayloadTooLong},
};
