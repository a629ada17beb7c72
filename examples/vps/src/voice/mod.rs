//! Voice sessions over a WebSocket.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `WS /v1/voice` | session or token | a voice session, see `livos_voice::transport::protocol` |

mod config;
mod feature;
mod session;

pub use self::feature::Voice;
