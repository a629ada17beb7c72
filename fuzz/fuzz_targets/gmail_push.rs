//! Any body of a push is a notification or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use livos_integrations::gmail::Notification;

fuzz_target!(|data: &[u8]| {
    if let Ok(notification) = Notification::from_pubsub(data) {
        assert!(!notification.address.is_empty() && !notification.address.chars().any(char::is_control));
    }
});
