//! Downloads the files that people send, above all voice notes, as bytes with their media type.

use bytes::Bytes;
use http::{Request, StatusCode};
use serde_json::json;

use super::{AttachedFile, Bot, ErrorKind, TelegramError, error::Said, wire::File};

/// A file, fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Media {
    /// What is in it.
    pub bytes: Bytes,
    /// What the sender says it is, such as `audio/ogg` of a voice note; the server does not say it
    /// again.
    pub mime: String,
}

/// A file was not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It is larger than the caller takes, or than the server gives away.
    #[error("the file is larger than {most} bytes")]
    TooLarge {
        /// The bound.
        most: u64,
    },
    /// The call failed.
    #[error("the file could not be fetched")]
    Telegram(#[from] TelegramError),
}

impl Bot {
    /// The most that Telegram's own server gives away, in bytes.
    pub const MAX_DOWNLOAD: u64 = 20 << 20;

    /// Fetches a file of at most `most` bytes, and of [`Bot::MAX_DOWNLOAD`]. What is too large is
    /// refused before it is asked for, where the sender says how large it is, and while it is read.
    pub async fn fetch(&self, file: &AttachedFile, most: u64) -> Result<Media, FetchError> {
        let most = most.min(Self::MAX_DOWNLOAD);
        let too_large = |size: Option<u64>| size.is_some_and(|size| size > most);
        if too_large(file.size) {
            return Err(FetchError::TooLarge { most });
        }
        let found: File = self.call("getFile", &json!({ "file_id": file.file_id })).await?;
        if too_large(found.file_size) {
            return Err(FetchError::TooLarge { most });
        }
        let path = found.file_path.filter(|path| is_plain(path)).ok_or_else(|| {
            TelegramError::of_ours(
                ErrorKind::Rejected,
                "telegram's getFile named no path that can be asked for".into(),
            )
        })?;
        let request = Request::get(self.address("/file/bot", &path)).body(Bytes::new());
        let request = request.map_err(|_| {
            TelegramError::of_ours(
                ErrorKind::Rejected,
                "telegram's getFile named a path that is no address".into(),
            )
        })?;
        // One byte more than allowed tells a file that is too large from one that broke off.
        let read = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
        let (status, _, bytes) = self.send("download", request, self.config().download_timeout, read).await?;
        match status {
            StatusCode::OK if bytes.len() as u64 > most => Err(FetchError::TooLarge { most }),
            StatusCode::OK => Ok(Media { bytes, mime: file.mime.clone() }),
            status => Err(TelegramError::refused("download", status, None, Said::default()).into()),
        }
    }
}

/// Whether a path stays below the bot's own folder.
fn is_plain(path: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
    !path.is_empty()
        && !path.starts_with('/')
        && path.chars().all(allowed)
        && path.split('/').all(|part| part != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_not_asked_for() {
        for path in ["voice/file_0.oga", "photos/file_12.jpg"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../../x", "a?b", "a#b", "a b", "a\r\nb", "http://x"] {
            assert!(!is_plain(path), "{path}");
        }
    }
}
