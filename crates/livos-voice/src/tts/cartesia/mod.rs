//! Cartesia's streaming speech over one WebSocket:
//! <https://docs.cartesia.ai/api-reference/tts/websocket>.
//!
//! The socket stays open between replies, because opening one costs some 200 ms. Each reply is a
//! context of its own (more than one when the model pauses or a connection breaks); what arrives
//! for any other context is dropped where it is met, since a cancelled generation goes on sending
//! to its end. A socket that breaks in the middle of a reply is replaced, and the reply goes on
//! from the first word whose audio had not come.

mod config;
mod contexts;
mod decoder;
mod session;
#[cfg(test)]
mod tests;
mod wire;

pub use config::{CartesiaConfig, InvalidConfig};

use std::sync::Arc;

use http::Request;

use crate::{
    connect::Connector,
    tts::{Driver, TextToSpeech, TtsSession},
};

/// A client of Cartesia, or of any server that speaks its protocol.
#[derive(Debug, Clone)]
pub struct Cartesia {
    config: Arc<CartesiaConfig>,
    request: Request<()>,
    connector: Connector,
}

impl Cartesia {
    /// A client with a configuration that is checked here, once.
    pub fn new(config: CartesiaConfig, connector: Connector) -> Result<Self, InvalidConfig> {
        let request = config.validate()?;
        Ok(Self { config: Arc::new(config), request, connector })
    }
}

impl TextToSpeech for Cartesia {
    fn open(&self) -> (TtsSession, Driver) {
        session::open(Arc::clone(&self.config), self.request.clone(), self.connector.clone())
    }
}
