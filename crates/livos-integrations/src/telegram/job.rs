//! An update as a job: the bytes as they came, under a key that both ways in share.

use std::time::Duration;

use bytes::Bytes;
use livos_core::queue::{JobKind, NewJob};
use serde::Deserialize;

use super::Update;

/// The kind of the jobs that updates become.
pub const KIND: JobKind = JobKind::from_static("telegram");
/// How long an id is remembered. Two days: Telegram keeps an update for one, and repeats it until
/// then; after a silent week other updates may get the same.
const REMEMBERED: Duration = Duration::from_secs(2 * 86_400);

/// The bytes are no update.
#[derive(Debug, thiserror::Error)]
#[error("telegram sent an update that can't be read")]
pub struct Unreadable(#[from] serde_json::Error);

#[derive(Deserialize)]
struct Head {
    update_id: i64,
}

/// The id of an update of this bot, and its job. Only the id is read here: an update whose kind is
/// not known yet must not hold up the others.
pub fn job(bot: i64, update: impl Into<Bytes>) -> Result<(i64, NewJob), Unreadable> {
    let update = update.into();
    let Head { update_id } = serde_json::from_slice(&update)?;
    Ok((update_id, NewJob::new(KIND, update).deduped_by(format!("{bot}/{update_id}"), REMEMBERED)))
}

/// The job of a verified delivery. One that is no update is kept as it came, for its worker to
/// report: an answer other than 2xx would make Telegram repeat it for a day.
#[cfg(feature = "webhook")]
pub(super) fn delivered(bot: i64, delivery: &crate::webhook::Delivery) -> NewJob {
    let body = delivery.body();
    match job(bot, body.clone()) {
        Ok((_, job)) => job,
        Err(_) => NewJob::new(KIND, body.clone()).deduped_by(delivery.key(), REMEMBERED),
    }
}

/// The update in a job's payload.
pub fn update(payload: &[u8]) -> Result<Update, Unreadable> {
    Ok(serde_json::from_slice(payload)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_holds_the_bytes_and_is_told_by_bot_and_update() {
        let bytes = Bytes::from_static(br#"{"update_id": 7, "tomorrows_kind": {"x": [1, 2]}}"#);
        let (id, made) = job(42, bytes.clone()).unwrap();
        assert_eq!((id, &made.payload, made.dedupe.as_ref().unwrap().key.as_str()), (7, &bytes, "42/7"));
        assert!(made.check().is_ok());
        let read = update(&made.payload).unwrap();
        assert_eq!((read.update_id, read.message), (7, None));
    }

    #[test]
    fn what_is_no_update_is_refused() {
        for bytes in ["", "[]", "{}", r#"{"update_id": "x"}"#, "\u{0}"] {
            assert!(job(1, bytes.to_owned()).is_err(), "{bytes}");
        }
    }
}
