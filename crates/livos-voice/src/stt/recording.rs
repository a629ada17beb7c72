//! Speech that was recorded before, such as a voice note: whole audio in, one transcript out.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use tower::BoxError;

use super::Transcript;

/// A recording in whatever container and codec its maker chose; the provider finds out which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The whole file.
    pub bytes: Bytes,
    /// What its maker says it is, such as `audio/ogg`.
    pub mime: String,
}

/// A client of a recogniser for recordings.
///
/// ```
/// use async_trait::async_trait;
/// use livos_voice::stt::{Recording, TranscribeError, Transcriber, Transcript};
///
/// /// Refuses long recordings before they are sent to the recogniser inside.
/// struct Short<T>(T);
///
/// #[async_trait]
/// impl<T: Transcriber> Transcriber for Short<T> {
///     async fn transcribe(&self, recording: Recording) -> Result<Transcript, TranscribeError> {
///         let most = 1 << 20;
///         if recording.bytes.len() > most {
///             return Err(TranscribeError::TooLarge { most });
///         }
///         self.0.transcribe(recording).await
///     }
/// }
/// ```
#[async_trait]
pub trait Transcriber: Send + Sync + 'static {
    /// The words of a recording, as one final transcript from zero to the length of the recording.
    /// No words are no error. Nothing is asked twice: whether to ask again is for the caller.
    /// Dropping the future closes the connection; what was sent whole may be billed all the same.
    async fn transcribe(&self, recording: Recording) -> Result<Transcript, TranscribeError>;
}

/// A recording was not understood.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TranscribeError {
    /// It is longer than the client sends.
    #[error("the recording is larger than {most} bytes")]
    TooLarge {
        /// The bound of the client, in bytes.
        most: usize,
    },
    /// The provider can't decode it. The text is the provider's.
    #[error("the provider can't read the recording: {0}")]
    Unreadable(String),
    /// The provider refuses: the key, the account or the configuration is at fault, and no
    /// recording will do. `body` is an excerpt without secrets.
    #[error("the provider refused the recording with status {status}: {body}")]
    Refused {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// The beginning of the answer, without line breaks.
        body: String,
    },
    /// The provider has too much to do, or fails.
    #[error("the provider is busy or fails, with status {status}")]
    Busy {
        /// The HTTP status of the answer.
        status: StatusCode,
        /// When it asked to be left alone for a while.
        retry_after: Option<Duration>,
    },
    /// No answer in time.
    #[error("the provider did not answer within {0:?}")]
    TimedOut(Duration),
    /// No byte stream: name resolution, TCP or TLS failed.
    #[error("could not connect to the provider")]
    Connect(#[source] BoxError),
    /// The connection broke before the whole answer came.
    #[error("the connection to the provider broke")]
    Broken(#[source] BoxError),
    /// The answer is not the protocol's.
    #[error("the provider's answer is not of its protocol")]
    Protocol(#[source] BoxError),
}

impl TranscribeError {
    /// Whether the same recording may be understood later.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::TimedOut(_) | Self::Connect(_) | Self::Broken(_))
    }

    /// How long the provider asked to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
