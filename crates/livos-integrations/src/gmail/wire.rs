//! The fields of Gmail's answers that are read, and nothing more.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::time::Timestamp;
use serde::Deserialize;

use super::{
    AttachmentId, HistoryId, LabelId, MessageId, ThreadId,
    id::number,
    read::{AttachmentInfo, Profile, Summary},
    text::one_line,
};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProfileBody {
    email_address: String,
    history_id: HistoryId,
}

impl From<ProfileBody> for Profile {
    fn from(body: ProfileBody) -> Self {
        Self { address: one_line(&body.email_address, 320), history_id: body.history_id }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchBody {
    pub history_id: HistoryId,
    #[serde(deserialize_with = "number")]
    pub expiration: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HistoryBody {
    #[serde(default)]
    pub history: Vec<RecordBody>,
    pub next_page_token: Option<String>,
    pub history_id: HistoryId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RecordBody {
    pub id: HistoryId,
    #[serde(default)]
    messages_added: Vec<AddedBody>,
    #[serde(default)]
    labels_added: Vec<LabeledBody>,
}

impl RecordBody {
    /// The messages that came, and those that came into `label` later: out of spam, after a snooze,
    /// by a filter.
    pub fn come_into(self, label: &LabelId) -> impl Iterator<Item = RefBody> {
        let moved = self.labels_added.into_iter().filter(move |one| one.label_ids.contains(label));
        let moved: Vec<RefBody> = moved.map(|one| one.message).collect();
        self.messages_added.into_iter().map(|one| one.message).chain(moved)
    }
}

#[derive(Deserialize)]
struct AddedBody {
    message: RefBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabeledBody {
    message: RefBody,
    #[serde(default)]
    label_ids: Vec<LabelId>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RefBody {
    pub id: MessageId,
    pub thread_id: ThreadId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListBody {
    #[serde(default)]
    pub messages: Vec<RefBody>,
    pub next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageBody {
    pub id: MessageId,
    pub thread_id: ThreadId,
    #[serde(default)]
    pub label_ids: Vec<LabelId>,
    #[serde(default)]
    pub snippet: String,
    #[serde(default, deserialize_with = "number")]
    pub internal_date: u64,
    pub raw: Option<String>,
    pub payload: Option<PartBody>,
}

impl MessageBody {
    pub fn received_at(&self) -> Timestamp {
        Timestamp::from_unix_ms(i64::try_from(self.internal_date).unwrap_or(i64::MAX))
    }

    /// The headers as lines of a mail, for the one parser that reads mails.
    pub fn head(&self) -> Vec<u8> {
        let headers = self.payload.iter().flat_map(|payload| &payload.headers);
        let lines = headers.map(|header| {
            let name: String = header.name.chars().filter(|c| c.is_ascii_graphic() && *c != ':').collect();
            format!("{name}: {}\r\n", header.value.replace(['\r', '\n'], " "))
        });
        let mut head = lines.collect::<String>().into_bytes();
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The beginning of a mail, from the beginning of an answer with `raw` in it that was too long to
/// be read whole.
pub(super) fn start_of_raw(answer: &[u8]) -> Option<Vec<u8>> {
    // Quotes inside of a value are escaped, so this is the name of the field.
    const NAME: &[u8] = b"\"raw\"";
    let at = answer.windows(NAME.len()).position(|name| name == NAME)? + NAME.len();
    let value = answer.get(at..)?.trim_ascii_start().strip_prefix(b":")?;
    let value = value.trim_ascii_start().strip_prefix(b"\"")?;
    let is_data = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_+/".contains(byte);
    let end = value.iter().position(|byte| !is_data(byte)).unwrap_or(value.len());
    // A group of four that was cut in the middle is left out.
    super::push::decode(std::str::from_utf8(value.get(..end / 4 * 4)?).ok()?)
}

impl From<MessageBody> for Summary {
    fn from(body: MessageBody) -> Self {
        let content = super::Content::parse(&body.head(), &super::MailLimits::default());
        Self {
            received_at: body.received_at(),
            snippet: one_line(&body.snippet, 1000),
            id: body.id,
            thread: body.thread_id,
            labels: body.label_ids,
            from: content.from,
            subject: content.subject,
        }
    }
}

/// A part of a mail. Parts hold parts, no deeper than the JSON reader goes (128).
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PartBody {
    mime_type: String,
    filename: String,
    headers: Vec<HeaderBody>,
    body: DataBody,
    parts: Vec<PartBody>,
}

#[derive(Deserialize)]
struct HeaderBody {
    name: String,
    value: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct DataBody {
    size: usize,
    attachment_id: Option<AttachmentId>,
}

impl PartBody {
    /// What is attached in it, at most so many.
    pub fn attachments(&self, most: usize) -> Vec<AttachmentInfo> {
        let (mut found, mut waiting) = (Vec::new(), vec![self]);
        while let Some(part) = waiting.pop().filter(|_| found.len() < most) {
            if let Some(id) = &part.body.attachment_id {
                found.push(AttachmentInfo {
                    id: id.clone(),
                    name: one_line(&part.filename, 998),
                    mime_type: one_line(&part.mime_type, 127),
                    size: part.body.size,
                });
            }
            waiting.extend(part.parts.iter().rev());
        }
        found
    }
}

#[derive(Deserialize)]
pub(super) struct AttachmentBody {
    pub data: String,
}

#[derive(Deserialize)]
pub(super) struct ThreadBody {
    #[serde(default)]
    pub messages: Vec<MessageBody>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SentBody {
    pub id: MessageId,
    pub thread_id: ThreadId,
}

#[derive(Deserialize)]
pub(super) struct LabelsBody {
    #[serde(default)]
    pub labels: Vec<LabelBody>,
}

#[derive(Deserialize)]
pub(super) struct LabelBody {
    pub id: LabelId,
    pub name: String,
}
