//! The twin by the published protocol.
