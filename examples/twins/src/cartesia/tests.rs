//! The twin by the published protocol, spoken raw.
