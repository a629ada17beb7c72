//! What goes into the machine and comes out of it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::secret::Secret;

use crate::oauth::{AccessToken, Alert, EndpointError, Record, TokenError, Tokens};

/// What may happen to a grant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GrantInput {
    /// The store was read.
    Loaded {
        /// What is there, and its version.
        found: Option<(Record, u64)>,
    },
    /// The store was read, and what is there can't be opened.
    Unreadable,
    /// The record was written, and has this version.
    Saved {
        /// The version.
        version: u64,
    },
    /// Another version stands in the store; nothing was written.
    Conflict,
    /// The store could not be read or written.
    StoreFailed,
    /// Somebody needs an access token.
    Wanted,
    /// An API refused the access token with this serial.
    Rejected {
        /// Its serial.
        serial: u64,
    },
    /// The provider gave tokens for the refresh token.
    Refreshed(Tokens),
    /// It did not.
    RefreshFailed(EndpointError),
    /// Somebody consented, and the code was exchanged for these.
    Granted(Tokens),
    /// The account is to be disconnected.
    Disconnect,
    /// The provider was told; or could not be.
    Revoked(Result<(), EndpointError>),
    /// The person was told.
    Raised,
    /// The person could not be told.
    RaiseFailed,
}

/// What a grant asks of its driver. Each ends with one input.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum GrantOutput {
    /// Read the record: ends with `Loaded`, `Unreadable` or `StoreFailed`.
    Load,
    /// Write the record where this version still stands: ends with `Saved`, `Conflict` or
    /// `StoreFailed`.
    Save {
        /// What to write.
        record: Record,
        /// What it was made from.
        expected: Expected,
    },
    /// Refresh: ends with `Refreshed` or `RefreshFailed`.
    Refresh {
        /// What to refresh with.
        refresh_token: Secret,
    },
    /// Tell the provider that the grant is over: ends with `Revoked`.
    Revoke {
        /// One of its tokens.
        token: Secret,
    },
    /// Tell a person: ends with `Raised` or `RaiseFailed`.
    Raise(Alert),
}

/// What has to stand in the store for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// This version.
    Version(u64),
    /// Whatever it is: nobody can read it.
    Anything,
}

/// What a caller gets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum TokenAccess {
    /// This token.
    Ready(AccessToken),
    /// Something is under way that ends with a token or an error.
    Wait,
    /// No token.
    Refused(TokenError),
}
