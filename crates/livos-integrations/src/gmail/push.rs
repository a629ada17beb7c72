//! What a push through Google Pub/Sub says: that something happened in a mailbox, and no more.
//!
//! The token of a push proves who sent it and does not cover its body. So a notification is a hint
//! to look, for a mailbox that is known, and never data: the history is listed from the stored
//! cursor, whatever the notification names.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use base64::{Engine as _, alphabet, engine::general_purpose as engines};
use serde::Deserialize;

use super::HistoryId;

/// Something happened in a mailbox.
///
/// Notifications are dropped beyond one a second, lost, repeated and out of order; all of that is
/// harmless to a [`super::Watcher`].
///
/// ```
/// use livos_integrations::gmail::{HistoryId, Notification};
///
/// let body = br#"{"message": {"data": "eyJlbWFpbEFkZHJlc3MiOiJhbm5hQGV4YW1wbGUub3JnIiwiaGlzdG9yeUlkIjoiOTg3NiJ9",
///     "messageId": "11", "publishTime": "2026-11-24T08:00:00Z"}, "subscription": "projects/p/subscriptions/s"}"#;
/// let notification = Notification::from_pubsub(body)?;
/// assert_eq!((notification.address.as_str(), notification.history_id), ("anna@example.org", HistoryId(9876)));
/// # Ok::<(), livos_integrations::gmail::NotANotification>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The mailbox, in lower case.
    pub address: String,
    /// Where its history stood when it was sent.
    pub history_id: HistoryId,
    /// The id of the push, where it came in an envelope. With the subscription it tells repeats.
    pub push_id: Option<String>,
    /// The subscription that it came through, where it came in an envelope.
    pub subscription: Option<String>,
}

/// The body of a push that is none of Gmail's. It will not become one when it is sent again, so it
/// is acknowledged and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the push is no notification of gmail: {0}")]
pub struct NotANotification(&'static str);

impl Notification {
    /// The longest body that is read, in bytes. 64 KiB: a real one has some hundred.
    pub const MAX_BODY: usize = 64 << 10;

    /// From the body of a push: in the envelope of Pub/Sub, in either spelling, or bare, as a
    /// subscription without wrapper sends it.
    pub fn from_pubsub(body: &[u8]) -> Result<Self, NotANotification> {
        if body.len() > Self::MAX_BODY {
            return Err(NotANotification("it is too long"));
        }
        if let Ok(envelope) = serde_json::from_slice::<Envelope>(body) {
            let data = decode(&envelope.message.data).ok_or(NotANotification("its data is not base64"))?;
            let said = Said::read(&data)?;
            return Ok(Self {
                push_id: envelope.message.message_id.or(envelope.message.message_id_too),
                subscription: envelope.subscription,
                ..said
            });
        }
        Said::read(body)
    }
}

/// Base64 of either alphabet, padded or not.
pub(super) fn decode(data: &str) -> Option<Vec<u8>> {
    let config = engines::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let alphabet = if data.contains(['-', '_']) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    engines::GeneralPurpose::new(alphabet, config).decode(data).ok()
}

#[derive(Deserialize)]
struct Envelope {
    message: Message,
    subscription: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    data: String,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    // Both spellings may stand in one envelope.
    #[serde(rename = "message_id")]
    message_id_too: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    email_address: String,
    history_id: HistoryId,
}

impl Said {
    fn read(json: &[u8]) -> Result<Notification, NotANotification> {
        let said: Self = serde_json::from_slice(json)
            .map_err(|_| NotANotification("it does not name a mailbox and a place in its history"))?;
        let address = said.email_address.to_lowercase();
        if address.is_empty() || address.len() > 320 || address.chars().any(char::is_control) {
            return Err(NotANotification("its mailbox is no address"));
        }
        Ok(Notification { address, history_id: said.history_id, push_id: None, subscription: None })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn envelope(data: &str) -> Vec<u8> {
        json!({ "message": { "data": data, "message_id": "5" }, "subscription": "projects/p/subscriptions/s" })
            .to_string()
            .into_bytes()
    }

    #[test]
    fn every_spelling_of_a_push_is_read() {
        // The first has '+' and '/' in the standard alphabet and '-' and '_' in the other.
        let said = r#"{"emailAddress":"A?>~ü@example.org","historyId":12}"#;
        for data in [
            engines::STANDARD.encode(said),
            engines::URL_SAFE_NO_PAD.encode(said),
            engines::STANDARD_NO_PAD.encode(said),
        ] {
            let read = Notification::from_pubsub(&envelope(&data)).unwrap();
            assert_eq!((read.address.as_str(), read.history_id), ("a?>~ü@example.org", HistoryId(12)));
            assert_eq!(
                (read.push_id.as_deref(), read.subscription.as_deref()),
                (Some("5"), Some("projects/p/subscriptions/s"))
            );
        }
        let bare = Notification::from_pubsub(br#"{"emailAddress":"a@b.c","historyId":"13"}"#).unwrap();
        assert_eq!((bare.history_id, bare.push_id), (HistoryId(13), None));
    }

    #[test]
    fn what_is_no_notification_is_refused() {
        let long = vec![b' '; Notification::MAX_BODY + 1];
        let bodies = [
            b"".to_vec(),
            b"[]".to_vec(),
            long,
            envelope("***"),
            envelope(&engines::STANDARD.encode("{}")),
            envelope(&engines::STANDARD.encode(r#"{"emailAddress":"a\nb","historyId":"1"}"#)),
            envelope(&engines::STANDARD.encode(r#"{"emailAddress":"a@b.c","historyId":"-1"}"#)),
        ];
        for body in bodies {
            assert!(Notification::from_pubsub(&body).is_err(), "{}", String::from_utf8_lossy(&body));
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300), data in ".{0,80}") {
            let _ = Notification::from_pubsub(&body);
            let _ = Notification::from_pubsub(&envelope(&data));
        }
    }
}
