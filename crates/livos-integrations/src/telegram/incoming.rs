//! What somebody said, wherever it stands in an update.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use livos_core::{
    conversation::{Channel, ConversationId, Inbound, InvalidConversationId, Speaker},
    user::UserId,
};

use super::{ChatKind, Entity, Message, Update, User};

/// Something that a person said to the bot, or near it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct IncomingMessage {
    /// The update's id.
    pub update: i64,
    /// Where.
    pub chat: i64,
    /// Whether several people hear it.
    pub group: bool,
    /// The topic of a forum.
    pub thread: Option<i64>,
    /// The message's number in the chat; 0 where there is none to answer to.
    pub message: i64,
    /// Who; nobody where it was written as a channel or an anonymous admin, whom nobody can tell.
    pub from: Option<Person>,
    /// What was written: text, caption, or what a button says. Empty for a voice note.
    pub text: String,
    /// Whether an earlier message was changed into this one.
    pub edited: bool,
    /// Whether it is meant for us: said in private, by a command, by our name, or in answer to us.
    pub addressed: bool,
    /// A command at the beginning that is ours, or everybody's.
    pub command: Option<InvokedCommand>,
    /// A file that came with it.
    pub attachment: Option<AttachedFile>,
    /// What a pressed button is answered by.
    pub callback: Option<String>,
    /// The number that the group has from now on.
    pub migrated_to: Option<i64>,
}

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Person {
    /// Their number. Rights are given to numbers, never to names, which change hands.
    pub id: i64,
    /// Whether it is a bot.
    pub is_bot: bool,
    /// As they call themselves: not to be trusted.
    pub name: String,
}

/// `/name arguments`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvokedCommand {
    /// In lower case, without slash and bot.
    pub name: String,
    /// What follows it.
    pub arguments: String,
}

/// A file that came along.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttachedFile {
    /// What it is.
    pub kind: AttachmentKind,
    /// What it is fetched by.
    pub file_id: String,
    /// What it is told apart by.
    pub unique_id: String,
    /// As the sender says, or what is usual.
    pub mime: String,
    /// As the sender says.
    pub name: Option<String>,
    /// In bytes, as the sender says.
    pub size: Option<u64>,
    /// Of a sound, in seconds.
    pub seconds: Option<u32>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttachmentKind {
    /// Spoken into the phone: to be heard.
    Voice,
    /// Another sound.
    Audio,
    /// A round video.
    VideoNote,
    /// Any file.
    Document,
    /// A picture.
    Photo,
}

impl IncomingMessage {
    /// What was said in an update, heard as `me`; none for what nobody said.
    pub fn of(update: &Update, me: &User) -> Option<Self> {
        if let Some(pressed) = &update.callback_query {
            let message = pressed.message.as_deref()?;
            let said = Self::of_message(update.update_id, message, me, false);
            return Some(Self {
                from: Some(person(&pressed.from)),
                text: pressed.data.clone().unwrap_or_default(),
                addressed: true,
                command: None,
                attachment: None,
                callback: Some(pressed.id.clone()),
                ..said
            });
        }
        let new = update.message.as_ref().or(update.channel_post.as_ref());
        let edited = update.edited_message.as_ref().or(update.edited_channel_post.as_ref());
        let message = new.or(edited)?;
        Some(Self::of_message(update.update_id, message, me, new.is_none()))
    }

    fn of_message(update: i64, message: &Message, me: &User, edited: bool) -> Self {
        let (text, entities) = match (&message.text, &message.caption) {
            (Some(text), _) => (text.clone(), &message.entities),
            (None, caption) => (caption.clone().unwrap_or_default(), &message.caption_entities),
        };
        let command = command(&text, entities, me);
        let group = message.chat.kind != ChatKind::Private;
        let answers_us = message.reply_to_message.as_ref().and_then(|answered| answered.from.as_ref());
        let addressed = !group
            || matches!(command, Ok(Some(_)))
            || answers_us.is_some_and(|author| author.id == me.id)
            || entities.iter().any(|entity| names(entity, &text, me));
        Self {
            update,
            chat: message.chat.id,
            group,
            thread: message.message_thread_id.filter(|_| message.is_topic_message),
            message: message.message_id,
            // What is written as a chat carries a stand-in for its author.
            from: message.from.as_ref().filter(|_| message.sender_chat.is_none()).map(person),
            text,
            edited,
            // A command that names another bot is not for us, whatever else it names.
            addressed: addressed && command.is_ok(),
            command: command.ok().flatten(),
            attachment: attachment(message),
            callback: None,
            migrated_to: message.migrate_to_chat_id,
        }
    }

    /// The conversation it belongs to: the bot's, the chat's, the topic's.
    pub fn conversation(&self, bot: i64) -> Result<ConversationId, InvalidConversationId> {
        let thread = self.thread.map(|thread| format!(":{thread}")).unwrap_or_default();
        format!("telegram:{bot}:{}{thread}", self.chat).as_str().try_into()
    }

    /// The message for an agent, said by somebody whose rights the caller knows, its answer booked
    /// as the usage of `payer`.
    pub fn inbound(
        &self,
        bot: i64,
        speaker: Speaker,
        payer: UserId,
    ) -> Result<Inbound, InvalidConversationId> {
        Ok(Inbound::new(self.conversation(bot)?, Channel::Chat, speaker, payer, self.text.clone()))
    }
}

fn person(user: &User) -> Person {
    Person { id: user.id, is_bot: user.is_bot, name: user.first_name.clone() }
}

/// The part of a text that an entity means. Offsets count UTF-16 units; one that splits a
/// character, or lies outside, means nothing.
fn part<'a>(text: &'a str, entity: &Entity) -> Option<&'a str> {
    let end = entity.offset.checked_add(entity.length)?;
    let (mut from, mut to, mut units) = (None, None, 0);
    for (at, c) in text.char_indices().chain([(text.len(), '\0')]) {
        if units == entity.offset {
            from = from.or(Some(at));
        }
        if units == end {
            to = to.or(Some(at));
        }
        units += c.len_utf16();
    }
    text.get(from?..to?)
}

/// The command at the beginning of a text; an error where it names another bot.
fn command(text: &str, entities: &[Entity], me: &User) -> Result<Option<InvokedCommand>, ()> {
    let first = entities.iter().find(|entity| entity.kind == "bot_command" && entity.offset == 0);
    let Some(word) = first.and_then(|entity| part(text, entity)) else { return Ok(None) };
    let (name, whose) = word.split_once('@').map_or((word, None), |(name, whose)| (name, Some(whose)));
    let ours = |whose: &str| me.username.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(whose));
    if !whose.is_none_or(ours) {
        return Err(());
    }
    let name = name.trim_start_matches('/').to_ascii_lowercase();
    let arguments = text.get(word.len()..).unwrap_or_default().trim().to_owned();
    Ok(Some(InvokedCommand { name, arguments }))
}

fn names(entity: &Entity, text: &str, me: &User) -> bool {
    let said = || part(text, entity).and_then(|word| word.strip_prefix('@'));
    match entity.kind.as_str() {
        "mention" => {
            said().zip(me.username.as_deref()).is_some_and(|(said, name)| said.eq_ignore_ascii_case(name))
        }
        "text_mention" => entity.user.as_ref().is_some_and(|user| user.id == me.id),
        _ => false,
    }
}

fn attachment(message: &Message) -> Option<AttachedFile> {
    let sound = |kind, usual: &str, voice: &super::Voice| AttachedFile {
        kind,
        file_id: voice.file_id.clone(),
        unique_id: voice.file_unique_id.clone(),
        mime: voice.mime_type.clone().unwrap_or_else(|| usual.to_owned()),
        name: None,
        size: voice.file_size,
        seconds: Some(voice.duration),
    };
    if let Some(voice) = &message.voice {
        return Some(sound(AttachmentKind::Voice, "audio/ogg", voice));
    }
    if let Some(video) = &message.video_note {
        return Some(sound(AttachmentKind::VideoNote, "video/mp4", video));
    }
    if let Some(audio) = &message.audio {
        return Some(AttachedFile {
            kind: AttachmentKind::Audio,
            file_id: audio.file_id.clone(),
            unique_id: audio.file_unique_id.clone(),
            mime: audio.mime_type.clone().unwrap_or_else(|| "audio/mpeg".into()),
            name: audio.file_name.clone(),
            size: audio.file_size,
            seconds: Some(audio.duration),
        });
    }
    if let Some(document) = &message.document {
        return Some(AttachedFile {
            kind: AttachmentKind::Document,
            file_id: document.file_id.clone(),
            unique_id: document.file_unique_id.clone(),
            mime: document.mime_type.clone().unwrap_or_else(|| "application/octet-stream".into()),
            name: document.file_name.clone(),
            size: document.file_size,
            seconds: None,
        });
    }
    let largest = message.photo.iter().max_by_key(|size| u64::from(size.width) * u64::from(size.height))?;
    Some(AttachedFile {
        kind: AttachmentKind::Photo,
        file_id: largest.file_id.clone(),
        unique_id: largest.file_unique_id.clone(),
        mime: "image/jpeg".into(),
        name: None,
        size: largest.file_size,
        seconds: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn me() -> User {
        serde_json::from_value(
            json!({ "id": 42, "is_bot": true, "first_name": "Twin", "username": "Twin_Bot" }),
        )
        .unwrap()
    }

    fn message(more: Value) -> Value {
        let mut message = json!({
            "message_id": 5, "date": 1, "chat": { "id": 7, "type": "private" },
            "from": { "id": 7, "is_bot": false, "first_name": "Ada" },
        });
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    }

    fn group(more: Value) -> Value {
        let mut message = message(more);
        message["chat"] = json!({ "id": -1_001_234_567_890i64, "type": "supergroup", "title": "Friends" });
        message
    }

    fn incoming(kind: &str, content: Value) -> Option<IncomingMessage> {
        let update: Update = serde_json::from_value(json!({ "update_id": 9, kind: content })).unwrap();
        IncomingMessage::of(&update, &me())
    }

    #[test]
    fn what_is_said_in_private_is_meant_for_us() {
        let said = incoming("message", message(json!({ "text": "hello" }))).unwrap();
        assert_eq!(
            (said.chat, said.message, said.text.as_str(), said.addressed, said.edited),
            (7, 5, "hello", true, false)
        );
        assert_eq!(said.from, Some(Person { id: 7, is_bot: false, name: "Ada".into() }));
        let inbound = said.inbound(42, Speaker::Paired, UserId::owner()).unwrap();
        assert_eq!((inbound.conversation.as_str(), inbound.speaker), ("telegram:42:7", Speaker::Paired));
        let edited = incoming("edited_message", message(json!({ "text": "hello there" }))).unwrap();
        assert_eq!((edited.edited, edited.text.as_str()), (true, "hello there"));
    }

    #[test]
    fn in_a_group_it_must_be_addressed() {
        let entity = |kind: &str, offset: usize, length: usize| json!([{ "type": kind, "offset": offset, "length": length }]);
        let table = [
            (group(json!({ "text": "hello all" })), false),
            // An emoji of two units stands before the name.
            (group(json!({ "text": "😀 @twin_bot hello", "entities": entity("mention", 3, 9) })), true),
            (group(json!({ "text": "@other_bot hello", "entities": entity("mention", 0, 10) })), false),
            (group(json!({ "text": "/new", "entities": entity("bot_command", 0, 4) })), true),
            (group(json!({ "text": "/new@TWIN_bot x", "entities": entity("bot_command", 0, 13) })), true),
            (group(json!({ "text": "/new@other_bot x", "entities": entity("bot_command", 0, 14) })), false),
            (
                group(
                    json!({ "text": "yes", "reply_to_message": group(json!({ "from": { "id": 42, "first_name": "Twin" } })) }),
                ),
                true,
            ),
            (group(json!({ "text": "yes", "reply_to_message": group(json!({})) })), false),
            (
                group(
                    json!({ "caption": "@twin_bot what is it?", "caption_entities": entity("mention", 0, 9) }),
                ),
                true,
            ),
            (
                group(
                    json!({ "text": "Twin hello", "entities": [{ "type": "text_mention", "offset": 0, "length": 4, "user": { "id": 42, "first_name": "Twin" } }] }),
                ),
                true,
            ),
            (group(json!({ "text": "x", "entities": entity("mention", 0, 400) })), false),
        ];
        for (content, addressed) in table {
            assert_eq!(incoming("message", content.clone()).unwrap().addressed, addressed, "{content}");
        }
    }

    #[test]
    fn a_command_is_one_at_the_beginning_and_for_us() {
        let command = |text: &str, offset: usize, length: usize| {
            let content = json!({ "text": text, "entities": [{ "type": "bot_command", "offset": offset, "length": length }] });
            incoming("message", message(content))
                .unwrap()
                .command
                .map(|command| (command.name, command.arguments))
        };
        let is = |name: &str, arguments: &str| Some((name.to_owned(), arguments.to_owned()));
        assert_eq!(command("/New  a b ", 0, 4), is("new", "a b"));
        assert_eq!(command("/pair@Twin_Bot ABCD", 0, 14), is("pair", "ABCD"));
        assert_eq!(command("/pair@other ABCD", 0, 11), None);
        assert_eq!(command("say /new", 4, 4), None);
    }

    #[test]
    fn who_writes_as_a_channel_is_nobody() {
        let said = group(json!({ "text": "x", "sender_chat": { "id": -100, "type": "channel" } }));
        assert_eq!(incoming("message", said).unwrap().from, None);
    }

    #[test]
    fn files_come_with_what_is_needed_to_fetch_them() {
        let file = |content: Value| incoming("message", message(content)).unwrap().attachment.unwrap();
        let voice = file(
            json!({ "voice": { "file_id": "v", "file_unique_id": "u", "duration": 3, "file_size": 5_000_000_000i64 } }),
        );
        assert_eq!(
            (voice.kind, voice.mime.as_str(), voice.seconds, voice.size),
            (AttachmentKind::Voice, "audio/ogg", Some(3), Some(5_000_000_000))
        );
        let document = file(
            json!({ "document": { "file_id": "d", "file_unique_id": "u", "mime_type": "text/plain", "file_name": "a.txt" }, "caption": "read it" }),
        );
        assert_eq!(
            (document.kind, document.mime.as_str(), document.name.as_deref()),
            (AttachmentKind::Document, "text/plain", Some("a.txt"))
        );
        let size = |id: &str, width: u32| json!({ "file_id": id, "file_unique_id": id, "width": width, "height": 10 });
        let photo = file(json!({ "photo": [size("small", 10), size("large", 90), size("middle", 50)] }));
        assert_eq!((photo.kind, photo.file_id.as_str()), (AttachmentKind::Photo, "large"));
    }

    #[test]
    fn a_button_says_what_it_stands_for() {
        let pressed = json!({ "id": "q", "from": { "id": 8, "first_name": "Bob" }, "message": group(json!({ "text": "old" })), "data": "yes" });
        let said = incoming("callback_query", pressed).unwrap();
        assert_eq!(
            (said.text.as_str(), said.callback.as_deref(), said.from.unwrap().id, said.addressed),
            ("yes", Some("q"), 8, true)
        );
    }

    #[test]
    fn what_nobody_said_and_what_is_not_known_is_nothing() {
        assert_eq!(incoming("poll", json!({ "id": "1" })), None);
        assert_eq!(incoming("of_tomorrow", json!([1, 2, 3])), None);
        let moved = incoming("message", group(json!({ "migrate_to_chat_id": -100_999 }))).unwrap();
        assert_eq!((moved.migrated_to, moved.addressed, moved.text.as_str()), (Some(-100_999), false, ""));
        let odd = message(json!({ "chat": { "id": 7, "type": "spaceship" }, "text": "x" }));
        assert!(!incoming("message", odd).unwrap().addressed);
    }

    #[test]
    fn topics_are_conversations_of_their_own() {
        let topic = group(json!({ "text": "x", "message_thread_id": 3, "is_topic_message": true }));
        assert_eq!(
            incoming("message", topic).unwrap().conversation(42).unwrap().as_str(),
            "telegram:42:-1001234567890:3"
        );
        let thread = group(json!({ "text": "x", "message_thread_id": 3 }));
        assert_eq!(
            incoming("message", thread).unwrap().conversation(42).unwrap().as_str(),
            "telegram:42:-1001234567890"
        );
    }

    proptest! {
        #[test]
        fn no_entity_makes_it_panic(text in ".{0,40}", offset in any::<usize>(), length in any::<usize>(), small in 0..50usize) {
            for (offset, length) in [(offset, length), (small, length % 50)] {
                let entity = |kind: &str| Entity { kind: kind.into(), offset, length, user: None };
                let _ = command(&text, &[entity("bot_command")], &me());
                let _ = names(&entity("mention"), &text, &me());
            }
        }
    }
}
