//! The HTTP server: who may talk to it, the routes that every deployment has, and the accept loop.

mod assets;
mod auth;
mod client;
mod config;
mod connections;
mod guard;
mod guesses;
mod link;
mod login;
mod router;
mod routes;
mod serve;
mod source;

pub use self::{
    assets::{MISSING, present},
    auth::SESSIONS,
    client::{Https, client},
    config::ServerSection,
    guard::Access,
    link::{ask_for_link, offer_links},
    router::router,
    routes::Routes,
    serve::serve,
    source::Source,
};
