//! The providers as the configuration names them. A twin in this process replaces each one that has
//! neither a key nor an address.

mod config;
mod endpoint;
mod model;
mod open;
mod responder;
mod speech;

pub use self::{
    config::ProvidersConfig,
    open::{Dependency, Providers, open},
    responder::Responder,
};
