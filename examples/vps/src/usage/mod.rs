//! Usage over HTTP.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /v1/usage?zone=Europe/Berlin` | session or token | usage and limits as of now |
//! | `GET /v1/usage/days?from=2026-11-01&to=2026-11-30` | session or token | finished days |
//!
//! The first shows the UTC day, the UTC week and the five-hour window, what is held for work under
//! way, and each limit. Every instant is shown in UTC and in the zone; days begin at midnight UTC
//! whatever the zone. The second shows the last thirty days unless it is asked for others.
//!
//! Usage of simulated providers is counted at the prices of the real ones, and the answer names
//! them.

mod body;
mod feature;
mod routes;

pub use self::feature::UsagePages;
