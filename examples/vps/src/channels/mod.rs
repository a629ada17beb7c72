//! Chat apps in which people talk to the agent: what they write, or say in a voice note, becomes a
//! durable job, and the job an answer in the same chat.
//!
//! | route | who | what |
//! | --- | --- | --- |
//! | `/v1/pairing…` | session or token | who may talk in chat apps, see `routes` |

mod app;
mod commands;
mod config;
mod desk;
mod discord;
mod door;
mod feature;
mod news;
mod notes;
mod payer;
mod routes;
mod telegram;
mod texts;

pub use self::{config::ChannelsConfig, feature::Channels, news::News};
