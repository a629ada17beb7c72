//! Voice notes that people send in chat apps, heard before the agent is asked.
//!
//! A note is fetched and paid for only once its sender was let in. What a person can do something
//! about is told to them; what may pass is tried again with the job.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::StatusCode;
use livos_core::{
    conversation::{ReplyError, ReplyErrorKind},
    http::describe,
    usage::{Amounts, Metric, Tally, Usage, UsageError, VoicePrice},
    user::UserId,
};
use livos_voice::stt::{Recording, TranscribeError, Transcriber};
use tower::BoxError;

/// The largest note that is fetched, in bytes. 4 MiB: a quarter of an hour as phones record it.
pub const MAX_BYTES: usize = 4 << 20;
/// The longest note. A longer one is a lecture, and one answer to it is of no use.
const LONGEST: Duration = Duration::from_secs(300);
/// Bytes a second of a recording whose length nobody tells, as phones record speech.
const USUAL_RATE: u64 = 2_000;

const TOO_LONG: &str = "That voice note is too long for me. Five minutes are the most.";
const UNREADABLE: &str = "I can't play that voice note. Please send it again, or write to me.";
const NO_WORDS: &str = "I heard no words in that voice note.";
const SPENT: &str =
    "I can't listen to more for now, because the limit for it is reached. Please write to me.";

/// A voice note that waits to be fetched.
pub struct VoiceNote {
    /// As its sender says.
    pub length: Option<Duration>,
    /// Fetches it, if it is not larger than [`MAX_BYTES`].
    pub fetch: Box<dyn FnOnce() -> BoxFuture<'static, Result<Recording, NotFetched>> + Send + Sync>,
}

/// A voice note was not fetched.
pub enum NotFetched {
    /// It is too large.
    TooLarge,
    /// The provider says that there is none, and will say so again.
    Gone(BoxError),
    /// It may come later.
    Failed(BoxError, Option<Duration>),
}

/// What was heard in a note.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Words(String),
    /// None, and what its sender is told.
    Nothing(&'static str),
}

#[derive(Clone)]
pub struct Notes {
    transcriber: Arc<dyn Transcriber>,
    usage: Usage,
    price: VoicePrice,
}

impl Notes {
    /// Hears by this, and counts what it costs.
    pub fn new(transcriber: Arc<dyn Transcriber>, usage: Usage, price: VoicePrice) -> Self {
        Self { transcriber, usage, price }
    }

    /// The words of a note, at this user's expense. An error may pass.
    pub async fn hear(&self, note: VoiceNote, user: &UserId) -> Result<Heard, ReplyError> {
        let VoiceNote { length, fetch } = note;
        if length.is_some_and(|length| length > LONGEST) {
            return Ok(Heard::Nothing(TOO_LONG));
        }
        let recording = match fetch().await {
            Ok(recording) => recording,
            Err(NotFetched::TooLarge) => return Ok(Heard::Nothing(TOO_LONG)),
            Err(NotFetched::Gone(error)) => {
                tracing::warn!(error = describe(&*error), "a voice note can't be fetched");
                return Ok(Heard::Nothing(UNREADABLE));
            }
            Err(NotFetched::Failed(error, after)) => {
                let failed =
                    ReplyError::new(ReplyErrorKind::Unavailable, "a voice note could not be fetched");
                return Err(failed.with_source(error).with_retry_after(after));
            }
        };
        // Who says less than was sent pays the rest once it is known.
        let length = length
            .unwrap_or_else(|| Duration::from_secs(recording.bytes.len() as u64 / USUAL_RATE))
            .min(LONGEST);
        let expected = self.amounts(length);
        let hold = match self.usage.reserve(user, expected).await {
            Ok((hold, _)) => hold,
            Err(UsageError::Exhausted(_) | UsageError::TooMany(_)) => return Ok(Heard::Nothing(SPENT)),
            Err(error) => return Err(error.into_reply_error(self.usage.now())),
        };
        match self.transcriber.transcribe(recording).await {
            Ok(transcript) => {
                hold.book(Tally::reported(self.amounts(transcript.end)));
                let words = transcript.text.trim();
                Ok(if words.is_empty() { Heard::Nothing(NO_WORDS) } else { Heard::Words(words.to_owned()) })
            }
            Err(error) => {
                // What was sent whole may be billed, whatever became of the answer.
                if matches!(error, TranscribeError::TimedOut(_) | TranscribeError::Broken(_)) {
                    hold.book(Tally::estimate(expected));
                }
                not_understood(error)
            }
        }
    }

    fn amounts(&self, length: Duration) -> Amounts {
        let amounts = Amounts::of(Metric::SttMs, length.as_millis() as u64);
        amounts.with(Metric::MicroDollars, self.price.cost(&amounts))
    }
}

fn not_understood(error: TranscribeError) -> Result<Heard, ReplyError> {
    let kind = match &error {
        TranscribeError::TooLarge { .. } => return Ok(Heard::Nothing(TOO_LONG)),
        TranscribeError::Unreadable(why) => {
            tracing::warn!(why, "a voice note can't be read");
            return Ok(Heard::Nothing(UNREADABLE));
        }
        TranscribeError::Busy { .. } => ReplyErrorKind::Busy,
        TranscribeError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
            ReplyErrorKind::Unauthorized
        }
        error if error.is_temporary() => ReplyErrorKind::Unavailable,
        error => {
            tracing::warn!(error = describe(error), "a voice note is refused");
            return Ok(Heard::Nothing(UNREADABLE));
        }
    };
    let after = error.retry_after();
    Err(ReplyError::new(kind, "a voice note was not understood").with_source(error).with_retry_after(after))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use futures_util::FutureExt;
    use livos_core::{
        budget::{Limit, Period, Unit},
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
        usage::{Bookkeeper, Limits, UsageConfig},
    };
    use livos_voice::stt::{Transcript, TranscriptKind};

    use super::*;

    /// Hears the same in every recording, or fails in the same way.
    struct Same(fn() -> Result<(&'static str, u64), TranscribeError>);

    #[async_trait]
    impl Transcriber for Same {
        async fn transcribe(&self, _: Recording) -> Result<Transcript, TranscribeError> {
            (self.0)().map(|(text, seconds)| Transcript {
                kind: TranscriptKind::Final,
                text: text.to_owned(),
                words: Vec::new(),
                start: Duration::ZERO,
                end: Duration::from_secs(seconds),
                end_of_speech: true,
            })
        }
    }

    /// Ten seconds a day may be heard.
    fn notes(says: fn() -> Result<(&'static str, u64), TranscribeError>) -> (Notes, Bookkeeper) {
        let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap());
        let mut config = UsageConfig::default();
        config.limits = Limits::default().with(Period::Day, Unit::AudioMs, Limit::stop_at(10_000));
        let (usage, bookkeeper) = Usage::new(Arc::new(store), config);
        (Notes::new(Arc::new(Same(says)), usage, VoicePrice::default()), bookkeeper)
    }

    fn note(seconds: Option<u64>, bytes: usize) -> VoiceNote {
        let recording = Recording { bytes: Bytes::from(vec![1; bytes]), mime: "audio/ogg".into() };
        VoiceNote {
            length: seconds.map(Duration::from_secs),
            fetch: Box::new(|| std::future::ready(Ok(recording)).boxed()),
        }
    }

    async fn hear(notes: &Notes, note: VoiceNote) -> Result<Heard, ReplyError> {
        notes.hear(note, &UserId::owner()).await
    }

    /// Milliseconds that are counted, and how many of them are an estimate.
    async fn counted(notes: &Notes, books: &mut Bookkeeper) -> (u64, u64) {
        books.catch_up().await;
        let report = notes.usage.report(&UserId::owner()).await.unwrap();
        assert!(report.held.is_zero(), "{:?}", report.held);
        let tally = report.periods[0].tally;
        (tally.counted.get(Metric::SttMs), tally.estimated.get(Metric::SttMs))
    }

    #[tokio::test]
    async fn what_was_heard_is_paid_by_its_real_length_and_a_spent_budget_is_told() {
        let (six, mut books) = notes(|| Ok((" two eggs ", 6)));
        assert_eq!(hear(&six, note(Some(1), 10)).await.unwrap(), Heard::Words("two eggs".into()));
        assert_eq!(counted(&six, &mut books).await, (6_000, 0));
        let (six, mut books) = notes(|| Ok(("two eggs", 6)));
        assert_eq!(hear(&six, note(Some(11), 10)).await.unwrap(), Heard::Nothing(SPENT));
        // Eleven seconds by its size.
        assert_eq!(hear(&six, note(None, 22_000)).await.unwrap(), Heard::Nothing(SPENT));
        assert_eq!(counted(&six, &mut books).await, (0, 0));
    }

    #[tokio::test]
    async fn what_a_person_can_change_is_told_and_nothing_is_paid() {
        let (notes, mut books) = notes(|| Err(TranscribeError::Unreadable("corrupt".into())));
        assert_eq!(hear(&notes, note(Some(1), 10)).await.unwrap(), Heard::Nothing(UNREADABLE));
        assert_eq!(hear(&notes, note(Some(301), 10)).await.unwrap(), Heard::Nothing(TOO_LONG));
        let fetch = Box::new(|| std::future::ready(Err(NotFetched::TooLarge)).boxed());
        assert_eq!(hear(&notes, VoiceNote { length: None, fetch }).await.unwrap(), Heard::Nothing(TOO_LONG));
        assert_eq!(counted(&notes, &mut books).await, (0, 0));
        let (silent, _) = self::notes(|| Ok(("", 1)));
        assert_eq!(hear(&silent, note(Some(1), 10)).await.unwrap(), Heard::Nothing(NO_WORDS));
    }

    #[tokio::test]
    async fn what_may_pass_is_an_error_and_only_what_may_be_billed_is_paid() {
        let (busy, mut books) = notes(|| {
            let (status, retry_after) = (http::StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(7)));
            Err(TranscribeError::Busy { status, retry_after })
        });
        let error = hear(&busy, note(Some(10), 10)).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ReplyErrorKind::Busy, Some(Duration::from_secs(7))));
        let fetch = Box::new(|| std::future::ready(Err(NotFetched::Failed("reset".into(), None))).boxed());
        let error = hear(&busy, VoiceNote { length: None, fetch }).await.unwrap_err();
        assert_eq!(error.kind(), ReplyErrorKind::Unavailable);
        assert_eq!(counted(&busy, &mut books).await, (0, 0));
        let (late, mut books) = notes(|| Err(TranscribeError::TimedOut(Duration::from_secs(60))));
        assert_eq!(hear(&late, note(Some(4), 10)).await.unwrap_err().kind(), ReplyErrorKind::Unavailable);
        assert_eq!(counted(&late, &mut books).await, (4_000, 4_000));
        let (refused, _) = notes(|| {
            Err(TranscribeError::Refused { status: http::StatusCode::UNAUTHORIZED, body: String::new() })
        });
        assert_eq!(hear(&refused, note(Some(1), 10)).await.unwrap_err().kind(), ReplyErrorKind::Unauthorized);
        let (odd, _) = notes(|| {
            Err(TranscribeError::Refused { status: http::StatusCode::BAD_REQUEST, body: String::new() })
        });
        assert_eq!(hear(&odd, note(Some(1), 10)).await.unwrap(), Heard::Nothing(UNREADABLE));
    }
}
