//! How a job of Redis is kept in a job of the file.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    queue::{DedupeKey, InvalidJob, JobKind, NewJob, QueueError, payload},
    time::Timestamp,
};

/// How long moving one job may take before another process tries.
pub(super) const MOVING: Duration = Duration::from_secs(30);
/// How long a job that had no dedupe key of its own is remembered once it was tried. A day: longer
/// than any outage that an operator sleeps through.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// The head of a spilled job's payload.
#[derive(Serialize, Deserialize)]
struct Envelope {
    kind: JobKind,
    key: String,
    forget_at: Timestamp,
    not_before: Option<Timestamp>,
    priority: u8,
    max_attempts: u32,
}

/// The job with a dedupe key, so that it can be enqueued again without becoming two.
pub(super) fn keyed(mut job: NewJob) -> NewJob {
    job.dedupe.get_or_insert_with(|| {
        let key = format!("spill/{}", uuid::Uuid::new_v4().simple());
        DedupeKey { key, retention: REMEMBERED }
    });
    job
}

/// A job of the file that holds a job of Redis.
pub(super) fn seal(job: &NewJob, now: Timestamp) -> Result<NewJob, QueueError> {
    let (key, retention) = job
        .dedupe
        .as_ref()
        .map_or((String::new(), REMEMBERED), |dedupe| (dedupe.key.clone(), dedupe.retention));
    let envelope = Envelope {
        kind: job.kind.clone(),
        key: key.clone(),
        forget_at: now.plus(retention),
        not_before: job.not_before,
        priority: job.priority,
        max_attempts: job.max_attempts,
    };
    let payload =
        payload::join(&envelope, &job.payload).map_err(|_| InvalidJob::TooLarge(job.payload.len()))?;
    let sealed = NewJob::new("spill".try_into()?, payload).with_max_attempts(u32::MAX);
    let key = format!("{}/{key}", job.kind);
    // If the key is too long with its kind in front, only Redis dedupes.
    Ok(if key.len() <= 512 { sealed.deduped_by(key, retention) } else { sealed })
}

pub(super) fn open(payload: &[u8], now: Timestamp) -> Option<NewJob> {
    let (envelope, payload): (Envelope, &[u8]) = payload::split(payload).ok()?;
    let mut job = NewJob::new(envelope.kind, Bytes::copy_from_slice(payload))
        .with_priority(envelope.priority)
        .with_max_attempts(envelope.max_attempts)
        // Remembered until the same instant as the original, and long enough for this move to be
        // tried again.
        .deduped_by(envelope.key, envelope.forget_at.since(now).max(2 * MOVING));
    job.not_before = envelope.not_before;
    Some(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_comes_out_as_it_went_in_and_is_remembered_as_long_as_it_would_have_been() {
        let start = Timestamp::from_unix_ms(1_800_000_000_000);
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let job = NewJob::new(JobKind::from_static("mail"), &b"\0\xff"[..])
            .with_priority(7)
            .with_max_attempts(3)
            .not_before(start.plus(minute))
            .deduped_by("x", hour);
        let opened = open(&seal(&job, start).unwrap().payload, start.plus(minute)).unwrap();
        assert_eq!(opened, job.clone().deduped_by("x", hour - minute));
        let late = open(&seal(&job, start).unwrap().payload, start.plus(2 * hour)).unwrap();
        assert_eq!(late.dedupe.unwrap().retention, 2 * MOVING, "long enough to be moved again");
    }

    #[test]
    fn jobs_that_are_new_get_a_key_and_each_another() {
        let job = || keyed(NewJob::new(JobKind::from_static("mail"), "x"));
        assert_ne!(job().dedupe.unwrap().key, job().dedupe.unwrap().key);
    }

    #[test]
    fn what_is_no_spilled_job_is_not_opened() {
        for payload in [&b""[..], b"\0\0\0", b"\0\0\0\x05ab", b"\xff\xff\xff\xff{}", b"\0\0\0\x02{}"] {
            assert_eq!(open(payload, Timestamp::default()), None, "{payload:?}");
        }
    }
}
