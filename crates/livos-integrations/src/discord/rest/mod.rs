//! Discord over HTTP: messages, answers to interactions, commands, files, within Discord's limits.

mod calls;
mod client;
mod error;
pub mod limits;

pub use self::{
    calls::{GatewayInfo, Outgoing},
    client::{Rest, RestConfig},
    error::RestError,
};
