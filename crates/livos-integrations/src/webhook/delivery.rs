//! One arrival from a provider, and the proof that it was verified.

use std::ops::Deref;

use bytes::Bytes;

/// One arrival from a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    id: String,
    body: Bytes,
}

impl Delivery {
    pub(super) fn new(id: String, body: Bytes) -> Self {
        Self { id, body }
    }

    /// The provider's own id of it: repeats of one delivery have the same.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes as they came.
    pub fn body(&self) -> &Bytes {
        &self.body
    }
}

/// Something whose origin was verified. Only a [`super::Verifier`] of this crate makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    pub(super) fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, without the proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
