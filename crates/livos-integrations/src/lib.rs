#![doc = include_str!("../README.md")]

pub mod oauth;
pub mod pairing;
pub mod sender;
pub mod webhook;
