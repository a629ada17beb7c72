//! Which messages become jobs: what people write to the bot, and never what bots write, the bot
//! itself above all.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use super::{
    Id,
    event::{ChannelMessage, Quoted, WireMessage},
};

/// Which messages of a server become jobs. In direct messages all do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Groups {
    /// Those that mention the bot or reply to it: the rest of a server's talk is none of its
    /// business, and would fill the queue.
    #[default]
    Addressed,
    /// All that are shown to it, for an agent that decides itself.
    All,
}

/// A plain message, and a reply. The other types tell that somebody joined, pinned or boosted.
const WRITTEN: [u8; 2] = [0, 19];

/// The message as a job; none where it is not for the agent. `me` is the bot.
pub(super) fn admit(wire: WireMessage, me: Id, groups: Groups) -> Option<ChannelMessage> {
    let written = WRITTEN.contains(&wire.kind) && wire.webhook_id.is_none();
    if !written || wire.author.bot || wire.author.id == me {
        return None;
    }
    let mentioned = wire.mentions.iter().any(|user| user.id == me);
    let answered = wire.referenced_message.as_ref().is_some_and(|message| message.author.id == me);
    let addressed = wire.guild_id.is_none() || mentioned || answered;
    if !addressed && groups == Groups::Addressed {
        return None;
    }
    let reply_to = wire.referenced_message.map(|message| Quoted {
        id: message.id,
        author: message.author.into(),
        text: message.content,
    });
    Some(ChannelMessage {
        id: wire.id,
        channel: wire.channel_id,
        guild: wire.guild_id,
        author: wire.author.into(),
        text: without_mention(&wire.content, me).to_owned(),
        addressed,
        attachments: wire.attachments,
        reply_to,
    })
}

/// The text without the mention of the bot at its beginning: that was the address and not the
/// message.
fn without_mention(text: &str, me: Id) -> &str {
    let text = text.trim();
    let rest =
        [format!("<@{me}>"), format!("<@!{me}>")].iter().find_map(|mention| text.strip_prefix(mention));
    rest.map_or(text, |rest| rest.trim_start_matches([' ', ',', ':', '\n']))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ME: Id = Id::new(100);

    fn check(change: &Value, groups: Groups) -> Option<ChannelMessage> {
        let mut message = json!({
            "id": "1", "channel_id": "2", "author": {"id": "3", "username": "anna"}, "content": "hello", "type": 0,
        });
        for (field, value) in change.as_object().unwrap() {
            message[field] = value.clone();
        }
        admit(serde_json::from_value(message).unwrap(), ME, groups)
    }

    #[test]
    fn what_bots_and_webhooks_write_is_nobody_s_message() {
        let ignored = [
            json!({"author": {"id": "3", "username": "b", "bot": true}}),
            json!({"author": {"id": "100", "username": "me"}}),
            json!({"webhook_id": "7"}),
            json!({"type": 7}),
        ];
        for change in ignored {
            assert_eq!(check(&change, Groups::All), None, "{change}");
        }
    }

    #[test]
    fn a_group_must_address_the_bot_and_a_person_alone_need_not() {
        assert!(check(&json!({}), Groups::Addressed).unwrap().addressed);
        assert_eq!(check(&json!({"guild_id": "9"}), Groups::Addressed), None);
        assert!(!check(&json!({"guild_id": "9"}), Groups::All).unwrap().addressed);
        let everyone = json!({"guild_id": "9", "content": "@everyone hi", "mention_everyone": true});
        assert_eq!(check(&everyone, Groups::Addressed), None, "everyone is nobody in particular");
        let mention = json!({"guild_id": "9", "content": "<@100>: what time is it?", "mentions": [{"id": "100", "username": "me"}]});
        assert_eq!(check(&mention, Groups::Addressed).unwrap().text, "what time is it?");
        let reply = json!({
            "guild_id": "9", "type": 19,
            "referenced_message": {"id": "4", "channel_id": "2", "content": "noon", "author": {"id": "100", "username": "me"}},
        });
        assert_eq!(check(&reply, Groups::Addressed).unwrap().reply_to.unwrap().text, "noon");
    }
}
