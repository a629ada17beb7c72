#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "discord")]
pub mod discord;
#[cfg(feature = "gmail")]
pub mod gmail;
#[cfg(any(feature = "discord", feature = "webhook"))]
mod interaction;
#[cfg(feature = "oauth")]
pub mod oauth;
#[cfg(feature = "pairing")]
pub mod pairing;
#[cfg(feature = "sender")]
pub mod sender;
#[cfg(feature = "telegram")]
pub mod telegram;
#[cfg(feature = "webhook")]
pub mod webhook;
