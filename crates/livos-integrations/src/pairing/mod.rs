//! Who may talk to the agent: codes that pair a sender, rights, and what each channel lets in
//! (P-16).
//!
//! The platform that LivOS replaces paired with six digits, no bound on guesses and no end to a
//! code. Here a code has 40 random bits or more, lives five minutes and is spent by its first use,
//! whatever comes of it; guesses are bounded for each sender and for each channel; and every paired
//! device is told about a new one.
//!
//! [`Pairing`] decides, as a plain machine. [`PairingDesk`] keeps its state in a
//! [`Store`](livos_core::store::Store), so that several processes share it and a restart forgives
//! no guess. [`Policy`] says what becomes of a message before anything reads it.
//!
//! ```
//! use std::sync::Arc;
//!
//! use livos_core::{embedded::{Embedded, EmbeddedConfig}, secret::Secret, store::EmbeddedStore, time::{Clock, SystemClock}};
//! use livos_integrations::pairing::{PairingCode, PairingConfig, PairingDesk, PairingInput, PairingOutput, Rights, Sender};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Arc::new(EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default())?));
//! let desk = PairingDesk::new(store, Secret::new("kept apart from the store"), PairingConfig::default())?;
//! let now = SystemClock.now();
//!
//! // The owner asks for a code, and somebody sends it to the bot.
//! let issued = desk.issue(now, "telegram".try_into()?, Rights::Paired).await?;
//! let [PairingOutput::Issued { code, .. }] = issued.as_slice() else { return Err("refused".into()) };
//! let sender = Sender::new("telegram".try_into()?, "4711")?;
//! let code = PairingCode::parse(code).ok_or("not a code")?;
//! desk.apply(now, PairingInput::Redeem { sender: sender.clone(), label: "Anna's phone".into(), code }).await?;
//! assert_eq!(desk.state(now).await?.rights(&sender), Some(Rights::Paired));
//! # Ok(()) }
//! ```

mod code;
mod config;
mod desk;
mod machine;
mod policy;
mod state;

pub use self::{
    code::PairingCode,
    config::{InvalidPairingConfig, PairingConfig},
    desk::{DeskError, FAMILIES, PairingDesk},
    machine::{News, Pairing, PairingInput, PairingOutput, Refusal},
    policy::{Access, Arrival, Policy},
    state::{ChannelName, Device, DeviceId, InvalidName, PairingState, Rights, Sender, Standing},
};
