#![doc = include_str!("../README.md")]

pub mod oauth;
pub mod discord;
pub mod http_client;
pub mod gmail;
pub mod pairing;
pub mod sender;
pub mod telegram;
pub mod webhook;
