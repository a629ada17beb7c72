//! Deliveries that are who they say they are (P-10): the signature is checked over the raw bytes before anything reads them.

mod delivery;
mod error;
mod hmac;

use bytes::Bytes;
use http::HeaderMap;

pub use self::{
    delivery::{Delivery, Verified},
    error::{InvalidSecret, VerifyError},
    hmac::Hmac,
};

/// Checks the deliveries of one provider. Never panics, whatever the bytes.
pub trait Verifier: Send + Sync {
    /// The delivery, or whose fault it is that there is none.
    fn verify(&self, headers: &HeaderMap, body: Bytes) -> Result<Verified<Delivery>, VerifyError>;
}
