//! The job that a mail becomes.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Duration;

use livos_core::queue::{JobKind, NewJob};
use serde::{Deserialize, Serialize};

use crate::gmail::{MessageId, MessageRef, ThreadId};

/// A mail that came: what a worker reads and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailJob {
    /// Whose mailbox it came into.
    pub account: String,
    /// The message. It may be gone by the time that it is read.
    pub message: MessageId,
    /// Its conversation.
    pub thread: ThreadId,
}

/// The payload of a job that is of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the job is not of a mail that came")]
pub struct NoMailJob;

impl MailJob {
    const KIND: &str = "gmail.message";

    /// The kind of these jobs.
    ///
    /// # Panics
    ///
    /// Never: the name is one that is allowed.
    #[allow(clippy::expect_used)] // A constant of allowed letters.
    pub fn kind() -> JobKind {
        Self::KIND.try_into().expect("an allowed name")
    }

    /// From the payload of a job.
    pub fn from_payload(payload: &[u8]) -> Result<Self, NoMailJob> {
        serde_json::from_slice(payload).map_err(|_| NoMailJob)
    }

    pub(super) fn new(account: &str, message: &MessageRef) -> Self {
        Self { account: account.to_owned(), message: message.id.clone(), thread: message.thread.clone() }
    }

    /// One message of an account is one job, no matter which process found it.
    pub(super) fn enqueued(&self, remembered: Duration) -> NewJob {
        let payload =
            serde_json::json!({ "account": self.account, "message": self.message, "thread": self.thread });
        NewJob::new(Self::kind(), payload.to_string())
            .deduped_by(format!("{}/{}", self.account, self.message), remembered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_read_back_and_named_by_its_account_and_message() {
        let job = MailJob {
            account: "a@b.c".into(),
            message: "18c2".try_into().unwrap(),
            thread: "18c1".try_into().unwrap(),
        };
        let enqueued = job.enqueued(Duration::from_secs(9));
        assert_eq!(MailJob::from_payload(&enqueued.payload), Ok(job));
        assert_eq!(enqueued.dedupe.as_ref().unwrap().key, "a@b.c/18c2");
        assert!(enqueued.check().is_ok());
        assert_eq!(
            MailJob::from_payload(b"{\"account\":\"a\",\"message\":\"../x\",\"thread\":\"1\"}"),
            Err(NoMailJob)
        );
    }
}
