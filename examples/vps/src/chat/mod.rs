//! Typed messages over HTTP.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `POST /v1/chat` | session or token | one message, answered as server-sent events |

mod events;
mod feature;
mod message;

pub use self::feature::Chat;
