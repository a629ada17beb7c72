#![doc = include_str!("../README.md")]

pub mod discord;
pub mod gmail;
pub mod http_client;
pub mod oauth;
pub mod pairing;
pub mod sender;
pub mod telegram;
pub mod webhook;
