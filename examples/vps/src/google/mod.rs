//! Access to the owner's Google account, and the mailbox in it.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `GET /oauth/google/start` | session or token | sends the browser to Google |
//! | `GET /oauth/google/callback` | the browser that began | takes it back |
//! | `GET /oauth/google` | session or token | the state of the grant, as JSON |
//! | `POST /oauth/google/disconnect` | session or token | gives the grant back |

mod config;
mod feature;
mod grant;
mod mailbox;
mod routes;

pub use self::feature::Google;
