//! Reading a deployment's configuration: one TOML file, overridden by the environment, overridden
//! by the command line.
//!
//! Each feature declares its own sections and reads them from the [`Document`]. A section validates
//! itself when it is read, which is before anything is opened.

mod document;
mod environment;
mod error;
mod url;
mod values;

pub use self::{
    document::{Document, Section},
    environment::Environment,
    error::ConfigError,
    url::provider_url,
    values::{duration, optional_duration, parsed},
};
