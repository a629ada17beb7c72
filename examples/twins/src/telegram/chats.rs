//! Chats: what the bot wrote into them, and when it has to slow down.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    failure::{Answer, Failure},
    params::Params,
};

/// A message of the bot, as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// Its number in the chat.
    pub id: i64,
    /// The text.
    pub text: String,
    /// The entities that came with it; null where there were none.
    pub entities: Value,
    /// What it answers to.
    pub reply_to: Option<i64>,
    /// The topic.
    pub thread: Option<i64>,
    /// When it was written, and each time it was changed.
    pub times: Vec<Instant>,
}

#[derive(Debug)]
pub(super) struct Chats {
    all: BTreeMap<i64, Chat>,
    limited: bool,
    floods: u64,
}

#[derive(Debug, Default)]
pub(super) struct Chat {
    group: bool,
    ids: i64,
    messages: BTreeMap<i64, Written>,
    typed: Vec<Instant>,
    /// When the chat's budget of messages is full again.
    full_at: Option<Instant>,
    pub(super) flooded_until: Option<Instant>,
    pub(super) blocked: bool,
    pub(super) migrated_to: Option<i64>,
}

/// The longest text, in UTF-16 units.
const MAX_TEXT: usize = 4096;

impl Chat {
    pub(super) fn next_id(&mut self) -> i64 {
        self.ids += 1;
        self.ids
    }

    /// Takes one from the budget, or answers how long to wait: a message a second after a burst of
    /// 5, in groups 20 a minute.
    fn budget(&mut self, now: Instant) -> Result<(), Duration> {
        let (each, burst) = if self.group { (3, 20) } else { (1, 5) };
        let full = self.full_at.unwrap_or(now).max(now);
        let ahead = full - now;
        let most = Duration::from_secs(each * (burst - 1));
        if ahead > most {
            return Err(ahead - most);
        }
        self.full_at = Some(full + Duration::from_secs(each));
        Ok(())
    }
}

impl Chats {
    pub(super) fn new(limited: bool) -> Self {
        Self { all: BTreeMap::new(), limited, floods: 0 }
    }

    pub(super) fn known(&mut self, id: i64, group: bool) -> &mut Chat {
        self.all.entry(id).or_insert_with(|| Chat { group, ..Chat::default() })
    }

    pub(super) fn person(&mut self, id: i64) -> &mut Chat {
        self.known(id, false)
    }

    pub(super) fn written(&self, chat: i64) -> Vec<Written> {
        self.all.get(&chat).map(|chat| chat.messages.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn typed(&self, chat: i64) -> Vec<Instant> {
        self.all.get(&chat).map(|chat| chat.typed.clone()).unwrap_or_default()
    }

    pub(super) fn floods(&self) -> u64 {
        self.floods
    }

    pub(super) fn report(&self) -> Value {
        let texts = |chat: &Chat| {
            let all = chat.messages.values();
            all.map(|message| json!({ "message_id": message.id, "text": message.text })).collect::<Vec<_>>()
        };
        self.all
            .iter()
            .map(|(id, chat)| (id.to_string(), texts(chat)))
            .collect::<HashMap<_, _>>()
            .into_iter()
            .map(|(id, texts)| (id, Value::from(texts)))
            .collect()
    }

    /// The chat of a call, if the bot may write into it now.
    fn open(&mut self, now: Instant, params: &Params, counts: bool) -> Result<(i64, &mut Chat), Failure> {
        let id = params.number("chat_id").ok_or_else(|| Failure::bad("chat_id is empty"))?;
        let limited = self.limited;
        let chat = self.all.get_mut(&id).ok_or_else(|| Failure::bad("chat not found"))?;
        if let Some(to) = chat.migrated_to {
            let mut moved = Failure::bad("group chat was upgraded to a supergroup chat");
            moved.parameters = json!({ "migrate_to_chat_id": to });
            return Err(moved);
        }
        if chat.blocked {
            return Err(Failure::new(403, "Forbidden: bot was blocked by the user"));
        }
        let flooded = chat.flooded_until.filter(|until| *until > now).map(|until| until - now);
        let wait = match flooded {
            Some(wait) => Some(wait),
            None if counts && limited => chat.budget(now).err(),
            None => None,
        };
        if let Some(wait) = wait {
            self.floods += 1;
            return Err(Failure::flood(wait));
        }
        Ok((id, chat))
    }

    pub(super) fn send(&mut self, now: Instant, date: u64, me: &Value, params: &Params) -> Answer {
        let (text, entities) = text(params)?;
        let reply_to = params.json("reply_parameters").and_then(|reply| reply["message_id"].as_i64());
        let thread = params.number("message_thread_id");
        let (id, chat) = self.open(now, params, true)?;
        let message = Written { id: chat.next_id(), text, entities, reply_to, thread, times: vec![now] };
        let kind = if chat.group { "supergroup" } else { "private" };
        let answer = shown(&message, id, kind, date, Some(me));
        chat.messages.insert(message.id, message);
        Ok(answer)
    }

    pub(super) fn edit(&mut self, now: Instant, date: u64, params: &Params) -> Answer {
        let (text, entities) = text(params)?;
        let number =
            params.number("message_id").ok_or_else(|| Failure::bad("message identifier is not specified"))?;
        let (id, chat) = self.open(now, params, true)?;
        let kind = if chat.group { "supergroup" } else { "private" };
        let message =
            chat.messages.get_mut(&number).ok_or_else(|| Failure::bad("message to edit not found"))?;
        if message.text == text && message.entities == entities {
            return Err(Failure::bad(
                "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply \
                 markup of the message",
            ));
        }
        (message.text, message.entities) = (text, entities);
        message.times.push(now);
        let mut answer = shown(message, id, kind, date, None);
        answer["edit_date"] = json!(date);
        Ok(answer)
    }

    pub(super) fn delete(&mut self, now: Instant, params: &Params) -> Answer {
        let number = params.number("message_id").unwrap_or(0);
        let (_, chat) = self.open(now, params, false)?;
        chat.messages.remove(&number).ok_or_else(|| Failure::bad("message to delete not found"))?;
        Ok(json!(true))
    }

    pub(super) fn act(&mut self, now: Instant, params: &Params) -> Answer {
        const ACTIONS: [&str; 4] = ["typing", "record_voice", "upload_voice", "upload_document"];
        if !params.text("action").is_some_and(|action| ACTIONS.contains(&action)) {
            return Err(Failure::bad("wrong parameter action in request"));
        }
        let (_, chat) = self.open(now, params, false)?;
        chat.typed.push(now);
        Ok(json!(true))
    }
}

/// The text of a call as the provider keeps it, and its entities.
fn text(params: &Params) -> Result<(String, Value), Failure> {
    let text = params.text("text").unwrap_or_default().trim().to_owned();
    if text.is_empty() {
        return Err(Failure::bad("message text is empty"));
    }
    let length = text.encode_utf16().count();
    if length > MAX_TEXT {
        return Err(Failure::bad("message is too long"));
    }
    if params.text("parse_mode").is_some_and(|mode| !mode.is_empty()) {
        let unclosed = ["*", "_", "`"].iter().find(|mark| text.matches(**mark).count() % 2 == 1);
        if let Some(mark) = unclosed {
            let at = text.rfind(mark).unwrap_or(0);
            return Err(Failure::bad(&format!(
                "can't parse entities: Can't find end of the entity starting at byte offset {at}"
            )));
        }
    }
    let entities = params.json("entities").unwrap_or(Value::Null);
    for entity in entities.as_array().into_iter().flatten() {
        let number = |name: &str| entity[name].as_u64().and_then(|number| usize::try_from(number).ok());
        let end = number("offset").zip(number("length")).map(|(offset, length)| offset + length);
        if entity["type"].as_str().is_none() || end.is_none_or(|end| end > length) {
            return Err(Failure::bad("can't parse MessageEntity: wrong offset or length"));
        }
    }
    Ok((text, entities))
}

fn shown(message: &Written, chat: i64, kind: &str, date: u64, from: Option<&Value>) -> Value {
    let mut shown = json!({
        "message_id": message.id, "date": date, "chat": { "id": chat, "type": kind }, "text": message.text,
    });
    if let Some(from) = from {
        shown["from"] = json!({ "id": from["id"], "is_bot": true, "first_name": from["first_name"], "username": from["username"] });
    }
    if message.entities.is_array() {
        shown["entities"] = message.entities.clone();
    }
    shown
}
