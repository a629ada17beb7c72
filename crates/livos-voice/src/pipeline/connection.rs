//! The state of a provider connection as the client is told it.

use crate::{connection::ConnectionState, transport::protocol::ServerMessage};

/// In words for a person.
pub(super) fn message(provider: &str, state: ConnectionState) -> ServerMessage {
    let connected = state == ConnectionState::Connected;
    let state = match state {
        ConnectionState::Connecting => "connecting".to_owned(),
        ConnectionState::Connected => "connected".to_owned(),
        ConnectionState::Reconnecting { attempt, wait } => {
            format!("reconnecting, attempt {attempt} in {:.1} s", wait.as_secs_f64())
        }
        ConnectionState::Draining => "closing".to_owned(),
        ConnectionState::Closed => "closed".to_owned(),
    };
    ServerMessage::Connection { provider: provider.to_owned(), state, connected }
}
