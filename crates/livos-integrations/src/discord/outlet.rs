//! Where an event came from, as a place for answers.

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use livos_core::time::{Clock, Timestamp};
use sha2::{Digest, Sha256};

use super::{
    Id, Outgoing, Rest, RestError,
    event::{Event, Interaction},
};
use crate::sender::{Limit, Outlet, SendError, Unit};

/// How long a message may be: 2,000 characters.
pub const MESSAGE: Limit = Limit::new(Outgoing::MAX_TEXT, Unit::Characters);
/// Typing is shown for 10 s.
const TYPING: Duration = Duration::from_secs(9);
/// Discord's usual limit is five edits in five seconds, for all answers in a channel.
const GAP: Duration = Duration::from_millis(1200);
/// A change that has to wait for longer is better made of what was said by then.
const PATIENCE: Duration = Duration::from_millis(500);

/// The way that an answer to an interaction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In place of the deferral, and after it.
    Interaction,
    /// As a message of the bot in the channel: the interaction is over.
    Channel,
}

/// How long an interaction can be answered. Discord gives 15 minutes; the last half of one is left
/// to clocks that differ.
const ANSWERABLE: Duration = Duration::from_secs(15 * 60 - 30);

/// The way that an answer takes which is ready now.
pub fn way(now: Timestamp, interaction: &Interaction) -> Way {
    if now.since(interaction.created_at()) < ANSWERABLE { Way::Interaction } else { Way::Channel }
}

/// The channel or the interaction that an event came from.
///
/// Messages carry a nonce of their key, by which Discord recognises a repetition for some minutes.
/// The first message of an answer to an interaction stands in the place of its deferral, which can
/// be repeated too; those after it can't. An interaction that is over, or whose deferral never
/// arrived, is answered in its channel.
#[derive(Debug, Clone)]
pub struct DiscordOutlet<C> {
    rest: Rest,
    clock: C,
    channel: Option<Id>,
    /// The question, where others write in between.
    reply_to: Option<Id>,
    interaction: Option<Interaction>,
}

impl<C: Clock> DiscordOutlet<C> {
    /// Answers an event.
    pub fn answering(rest: Rest, clock: C, event: &Event) -> Self {
        let (reply_to, interaction) = match event {
            Event::Message(message) => (message.guild.map(|_| message.id), None),
            Event::Interaction(interaction) => (None, Some(interaction.clone())),
        };
        Self { rest: rest.with_patience(PATIENCE), clock, channel: event.channel(), reply_to, interaction }
    }

    /// Writes into a channel of its own accord.
    pub fn channel(rest: Rest, clock: C, channel: Id) -> Self {
        let rest = rest.with_patience(PATIENCE);
        Self { rest, clock, channel: Some(channel), reply_to: None, interaction: None }
    }

    /// The interaction, as long as it can be answered.
    fn living(&self) -> Option<&Interaction> {
        self.interaction.as_ref().filter(|interaction| way(self.clock.now(), interaction) == Way::Interaction)
    }

    async fn post_to_interaction(
        &self,
        interaction: &Interaction,
        text: &str,
        key: &str,
    ) -> Result<Id, RestError> {
        let (application, token, message) =
            (interaction.application, &interaction.token, Outgoing::text(text));
        if is_first(key) {
            self.rest.edit_response(application, token, &message).await
        } else {
            self.rest.follow_up(application, token, &message).await
        }
    }

    async fn post_to_channel(&self, channel: Id, text: &str, key: &str) -> Result<Id, RestError> {
        let reply_to = self.reply_to.filter(|_| is_first(key));
        let message = Outgoing { text: text.to_owned(), reply_to, nonce: Some(nonce(key)), ephemeral: false };
        self.rest.send_message(channel, &message).await
    }
}

/// Whether a message is the first of its answer: [`deliver`](crate::sender::deliver) ends its keys
/// with the number of the message.
fn is_first(key: &str) -> bool {
    key.ends_with("/0")
}

/// A nonce that is the same for the same key, and for nothing else: 25 characters, as many as
/// Discord takes.
fn nonce(key: &str) -> String {
    let mut nonce = URL_SAFE_NO_PAD.encode(Sha256::digest(key));
    nonce.truncate(25);
    nonce
}

fn failed(error: RestError) -> SendError {
    match error {
        RestError::Limited { retry_after } => SendError::later(retry_after),
        RestError::Unreachable(cause) if livos_core::http::never_left(&*cause) => {
            SendError::not_sent(RestError::Unreachable(cause))
        }
        RestError::Unreachable(_) | RestError::TimedOut(_) | RestError::Failed(_) => {
            SendError::unknown(error)
        }
        // Counted against a ban that would hit everybody here: not before some of it is forgotten.
        RestError::Withheld(_) if error.is_temporary() => SendError::later(Duration::from_secs(60)),
        _ if error.is_gone() => SendError::gone(error),
        _ => SendError::refused(error),
    }
}

fn of_ours(what: &'static str) -> RestError {
    RestError::Invalid(what.into())
}

#[async_trait]
impl<C: Clock> Outlet for DiscordOutlet<C> {
    fn limit(&self) -> Limit {
        MESSAGE
    }

    fn gap(&self) -> Duration {
        GAP
    }

    fn typing_every(&self) -> Duration {
        TYPING
    }

    fn is_idempotent(&self) -> bool {
        self.interaction.is_none()
    }

    async fn post(&self, text: &str, key: &str) -> Result<String, SendError> {
        if let Some(interaction) = self.living() {
            match self.post_to_interaction(interaction, text, key).await {
                Ok(id) => return Ok(id.to_string()),
                Err(error) if error.is_gone() && self.channel.is_some() => {
                    tracing::info!(%error, "an interaction of discord is over before its answer");
                }
                Err(error) => return Err(failed(error)),
            }
        }
        let Some(channel) = self.channel else {
            return Err(SendError::gone(of_ours("the interaction is over, and it has no channel")));
        };
        let id = self.post_to_channel(channel, text, key).await.map_err(failed)?;
        Ok(id.to_string())
    }

    async fn edit(&self, message: &str, text: &str) -> Result<(), SendError> {
        let message: Id =
            message.parse().map_err(|_| SendError::refused(of_ours("it is no message of ours")))?;
        if let Some(interaction) = self.living() {
            let (application, token) = (interaction.application, &interaction.token);
            match self.rest.edit_follow_up(application, token, message, text).await {
                Ok(()) => return Ok(()),
                // A message that went to the channel is not the interaction's.
                Err(error) if error.is_gone() && self.channel.is_some() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let Some(channel) = self.channel else {
            return Err(SendError::refused(of_ours("the interaction is over, and it has no channel")));
        };
        match self.rest.edit_message(channel, message, text).await {
            // Deleted by somebody: the answer goes on without it.
            Err(error) if error.is_gone() => Err(SendError::refused(error)),
            edited => edited.map_err(failed),
        }
    }

    async fn remove(&self, message: &str) -> Result<(), SendError> {
        let (Ok(message), Some(channel)) = (message.parse::<Id>(), self.channel) else { return Ok(()) };
        match self.rest.delete_message(channel, message).await {
            Err(error) if error.is_gone() => Ok(()),
            removed => removed.map_err(failed),
        }
    }

    async fn typing(&self) -> Result<(), SendError> {
        match (self.living(), self.channel) {
            // The deferral shows it by itself.
            (Some(_), _) | (_, None) => Ok(()),
            (None, Some(channel)) => self.rest.show_typing(channel).await.map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_short_and_of_its_message_alone() {
        let nonces = ["message/1/0", "message/1/1", "message/11/0", "message/1/10"].map(nonce);
        for (index, one) in nonces.iter().enumerate() {
            assert_eq!(one.len(), 25);
            assert!(nonces[index + 1..].iter().all(|other| other != one));
        }
        assert_eq!(nonces[0], nonce("message/1/0"));
        assert!(is_first("message/1/0") && !is_first("message/1/10"));
    }

    #[test]
    fn after_fifteen_minutes_an_answer_is_a_normal_message() {
        let body =
            r#"{"id":"175928847299117063","application_id":"8","type":2,"token":"t","data":{"name":"x"}}"#;
        let interaction = Interaction::parse(body.as_bytes()).unwrap();
        let after = |seconds| way(interaction.created_at().plus(Duration::from_secs(seconds)), &interaction);
        assert_eq!(after(0), Way::Interaction);
        assert_eq!(after(869), Way::Interaction);
        assert_eq!(after(870), Way::Channel);
    }
}
