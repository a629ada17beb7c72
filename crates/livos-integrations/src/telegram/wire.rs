//! What Telegram sends, as far as it is read. Fields that are not known are passed over, and so are
//! kinds of updates: new ones come with every version.

use serde::Deserialize;

/// Something that happened. At most one of the fields is there; none for kinds that are not read.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Update {
    /// Grows by one, but for silent weeks.
    pub update_id: i64,
    /// Somebody wrote.
    pub message: Option<Message>,
    /// Somebody changed what they wrote.
    pub edited_message: Option<Message>,
    /// A channel got a post.
    pub channel_post: Option<Message>,
    /// A channel's post was changed.
    pub edited_channel_post: Option<Message>,
    /// Somebody pressed a button.
    pub callback_query: Option<CallbackQuery>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// Its number in the chat; 0 where it is only scheduled.
    pub message_id: i64,
    /// The topic of a forum.
    pub message_thread_id: Option<i64>,
    /// Whether that topic is one of a forum, and no thread of answers.
    #[serde(default)]
    pub is_topic_message: bool,
    /// Who wrote it; nobody in channels.
    pub from: Option<User>,
    /// The channel or the anonymous group it was written as.
    pub sender_chat: Option<Chat>,
    /// Where it was written.
    pub chat: Chat,
    /// When, in seconds since 1970.
    pub date: i64,
    /// The text.
    pub text: Option<String>,
    /// What stands in the text.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// The text of what is no text.
    pub caption: Option<String>,
    /// What stands in the caption.
    #[serde(default)]
    pub caption_entities: Vec<Entity>,
    /// What it answers.
    pub reply_to_message: Option<Box<Message>>,
    /// What it belongs to, where several came at once.
    pub media_group_id: Option<String>,
    /// A voice note.
    pub voice: Option<Voice>,
    /// Music, or another sound.
    pub audio: Option<Audio>,
    /// A round video.
    pub video_note: Option<Voice>,
    /// A file.
    pub document: Option<Document>,
    /// A picture, in several sizes.
    #[serde(default)]
    pub photo: Vec<PhotoSize>,
    /// The group has this number from now on.
    pub migrate_to_chat_id: Option<i64>,
}

/// A person, or a bot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// Their number: the only thing to tell them by.
    pub id: i64,
    /// Whether it is a bot.
    #[serde(default)]
    pub is_bot: bool,
    /// As they call themselves.
    #[serde(default)]
    pub first_name: String,
    /// Changes hands, and proves nothing.
    pub username: Option<String>,
    /// The language of their app.
    pub language_code: Option<String>,
    /// Whether a bot sees everything in groups; only of ourselves.
    pub can_read_all_group_messages: Option<bool>,
}

/// A place to write in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Chat {
    /// Its number, which may exceed 32 bits.
    pub id: i64,
    /// What kind of place.
    #[serde(rename = "type")]
    pub kind: ChatKind,
    /// Its name, where it has one.
    pub title: Option<String>,
}

/// What kind of place a chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChatKind {
    /// With one person.
    Private,
    /// With several.
    Group,
    /// With many.
    Supergroup,
    /// To many.
    Channel,
    /// One that is not known yet.
    #[serde(other)]
    Other,
}

/// Something that stands in a text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Entity {
    /// `bot_command`, `mention`, `text_mention`, and many more.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it begins, in UTF-16 units.
    pub offset: usize,
    /// How long it is, in UTF-16 units.
    pub length: usize,
    /// Whom a `text_mention` means.
    pub user: Option<User>,
}

/// A voice note, or a round video.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Voice {
    /// What the file is fetched by.
    pub file_id: String,
    /// What it is told apart by.
    pub file_unique_id: String,
    /// In seconds.
    #[serde(default)]
    pub duration: u32,
    /// Usually `audio/ogg`.
    pub mime_type: Option<String>,
    /// In bytes.
    pub file_size: Option<u64>,
}

/// A sound with a name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Audio {
    /// What the file is fetched by.
    pub file_id: String,
    /// What it is told apart by.
    pub file_unique_id: String,
    /// In seconds.
    #[serde(default)]
    pub duration: u32,
    /// As the sender says.
    pub mime_type: Option<String>,
    /// As the sender says.
    pub file_name: Option<String>,
    /// In bytes.
    pub file_size: Option<u64>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Document {
    /// What the file is fetched by.
    pub file_id: String,
    /// What it is told apart by.
    pub file_unique_id: String,
    /// As the sender says.
    pub mime_type: Option<String>,
    /// As the sender says.
    pub file_name: Option<String>,
    /// In bytes.
    pub file_size: Option<u64>,
}

/// A picture in one size.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct PhotoSize {
    /// What the file is fetched by.
    pub file_id: String,
    /// What it is told apart by.
    pub file_unique_id: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// In bytes.
    pub file_size: Option<u64>,
}

/// A button that was pressed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct CallbackQuery {
    /// What it is answered by.
    pub id: String,
    /// Who pressed.
    pub from: User,
    /// The message that the button stands under, where it is not too old.
    pub message: Option<Box<Message>>,
    /// What the button says to us.
    pub data: Option<String>,
}

/// A file, ready to be downloaded.
#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) file_size: Option<u64>,
    pub(super) file_path: Option<String>,
}
