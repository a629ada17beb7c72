//! Why a call failed, what it did, and what to do about it.

use std::time::Duration;

use http::StatusCode;
use serde::Deserialize;

/// A call failed. The token is not in it, whatever the HTTP client said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TelegramError {
    kind: ErrorKind,
    message: String,
    description: String,
    retry_after: Option<Duration>,
    migrated_to: Option<i64>,
}

/// What a caller can do about a failed call, by the code of
/// <https://core.telegram.org/bots/api#making-requests>. Descriptions are no contract, so nothing
/// but the code and the parameters decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection came about: the call was certainly not carried out. Try again.
    NotConnected,
    /// No whole answer came: whether the call was carried out is unknown.
    Lost,
    /// 5xx: the server failed, and whether the call was carried out is unknown.
    Server,
    /// 429: too many; see [`TelegramError::retry_after`]. Not carried out.
    Busy,
    /// 400 with another number of the chat; see [`TelegramError::migrated_to`]. Not carried out.
    Migrated,
    /// 400 and others: the request is wrong. Trying again does not help.
    Rejected,
    /// 401, and 404 of a whole method: the token or the address is wrong. An operator has to see to
    /// it.
    Unauthorized,
    /// 403: the person blocked the bot, or threw it out. The chat is dead.
    Forbidden,
    /// 409: another poller, or a webhook.
    Conflict,
}

/// The details that Telegram sends along with `ok: false`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) error_code: Option<u16>,
    #[serde(default)]
    pub(super) description: String,
    #[serde(default)]
    pub(super) parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Parameters {
    #[serde(default)]
    pub(super) retry_after: Option<u64>,
    #[serde(default)]
    pub(super) migrate_to_chat_id: Option<i64>,
}

/// The most of a description that is kept, in characters.
const MAX_DESCRIPTION: usize = 200;
/// The longest wait that is believed. A day: longer than any that was seen, and the end of a job's
/// patience.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);

impl TelegramError {
    /// What can be done about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the server said; empty where it said nothing.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// How long to leave the chat, or the server, alone.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The number that the chat has now.
    pub fn migrated_to(&self) -> Option<i64> {
        self.migrated_to
    }

    /// Whether the call may have been carried out all the same.
    pub fn may_have_happened(&self) -> bool {
        matches!(self.kind, ErrorKind::Lost | ErrorKind::Server)
    }

    /// Whether the same call may succeed later without anything being changed.
    pub fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::NotConnected | ErrorKind::Lost | ErrorKind::Server | ErrorKind::Busy)
    }

    /// `what` is said by our side, and holds no secret.
    pub(super) fn of_ours(kind: ErrorKind, what: String) -> Self {
        Self { kind, message: what, description: String::new(), retry_after: None, migrated_to: None }
    }

    /// By what the server said.
    pub(super) fn refused(method: &str, status: StatusCode, header: Option<Duration>, said: Said) -> Self {
        let code = said.error_code.unwrap_or(status.as_u16());
        let migrated_to = said.parameters.migrate_to_chat_id;
        let kind = match code {
            400 if migrated_to.is_some() => ErrorKind::Migrated,
            401 | 404 => ErrorKind::Unauthorized,
            403 => ErrorKind::Forbidden,
            409 => ErrorKind::Conflict,
            429 => ErrorKind::Busy,
            500..=599 => ErrorKind::Server,
            _ => ErrorKind::Rejected,
        };
        let description: String = said.description.chars().take(MAX_DESCRIPTION).collect();
        let whose = if matches!(kind, ErrorKind::Server | ErrorKind::Busy) { "failed at" } else { "refused" };
        let asked = said.parameters.retry_after.map(Duration::from_secs).or(header);
        let floor = (kind == ErrorKind::Busy).then_some(Duration::from_secs(1));
        Self {
            kind,
            message: format!("telegram {whose} {method} ({code}): {description}"),
            description,
            retry_after: asked.or(floor).map(|wait| wait.min(MAX_RETRY_AFTER)),
            migrated_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_decides_and_the_text_does_not() {
        use ErrorKind::*;
        let table = [
            (400, Rejected, false, false),
            (401, Unauthorized, false, false),
            (403, Forbidden, false, false),
            (404, Unauthorized, false, false),
            (409, Conflict, false, false),
            (413, Rejected, false, false),
            (429, Busy, false, true),
            (500, Server, true, true),
            (502, Server, true, true),
        ];
        for (code, kind, may_have_happened, temporary) in table {
            let said = Said { description: "Forbidden: retry after 5".into(), ..Said::default() };
            let error = TelegramError::refused("getMe", StatusCode::from_u16(code).unwrap(), None, said);
            let is = (error.kind(), error.may_have_happened(), error.is_temporary());
            assert_eq!(is, (kind, may_have_happened, temporary), "{code}");
            assert_eq!(error.retry_after().is_some(), code == 429, "{code}");
        }
    }

    #[test]
    fn parameters_are_read_and_bounded() {
        let said: Said = serde_json::from_str(
            r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5","parameters":{"retry_after":5}}"#,
        )
        .unwrap();
        let busy = TelegramError::refused("sendMessage", StatusCode::TOO_MANY_REQUESTS, None, said);
        assert_eq!(busy.retry_after(), Some(Duration::from_secs(5)));
        assert_eq!(
            busy.to_string(),
            "telegram failed at sendMessage (429): Too Many Requests: retry after 5"
        );
        let said: Said =
            serde_json::from_str(r#"{"parameters":{"migrate_to_chat_id":-1001234567890}}"#).unwrap();
        let moved = TelegramError::refused("sendMessage", StatusCode::BAD_REQUEST, None, said);
        assert_eq!((moved.kind(), moved.migrated_to()), (ErrorKind::Migrated, Some(-1_001_234_567_890)));
        let said = Said { description: "é".repeat(5000), ..Said::default() };
        assert!(TelegramError::refused("x", StatusCode::BAD_GATEWAY, None, said).to_string().len() < 500);
    }
}
