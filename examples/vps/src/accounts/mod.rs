//! What the owner's agent used and may use: counted in the store, limited by `[budget]`, priced by
//! `[usage.prices]`.

mod config;
mod open;
mod prices;

pub use self::{
    config::AccountsConfig,
    open::{Accounts, open},
    prices::Models,
};
