//! A verifier over HTTP: reads the body within its bounds, verifies it, hands it on, and answers in
//! the provider's own words.

mod body;
mod config;
mod intake;
mod layer;
mod service;

pub use self::{
    body::Body,
    config::VerifyConfig,
    intake::{Intake, intake, intake_by},
    layer::VerifyLayer,
    service::Verify,
};
