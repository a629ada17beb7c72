//! An agent's text on its way back to where an event came from.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use livos_core::time::Timestamp;
use sha2::{Digest, Sha256};

use super::{
    Outgoing, Rest, RestError,
    event::{Event, Interaction},
};
use crate::sender::{Limit, Unit, split};

/// The way that an answer to an interaction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// In place of the deferral, and after it.
    Interaction,
    /// As a message of the bot in the channel: the interaction is over.
    Channel,
}

/// How long an interaction can be answered. Discord gives 15 minutes; the last half of one is left to clocks that differ.
const ANSWERABLE: Duration = Duration::from_secs(15 * 60 - 30);

/// The way that an answer takes which is ready now.
pub fn way(now: Timestamp, interaction: &Interaction) -> Way {
    if now.since(interaction.created_at()) < ANSWERABLE { Way::Interaction } else { Way::Channel }
}

/// What an interaction is answered with when there is nothing to say: the deferral must not stand for ever.
const NOTHING: &str = "…";

impl Rest {
    /// Answers an event with a text of any length, in as many messages as that takes. Said again, after a kill in the middle for instance, it sends only
    /// what was not sent: messages carry a nonce of the event's id, which Discord remembers for some minutes. The later parts of an answer to an
    /// interaction have none, and may come twice then.
    ///
    /// A blank text sends nothing, or an ellipsis in place of a deferral.
    pub async fn answer(&self, now: Timestamp, event: &Event, text: &str) -> Result<(), RestError> {
        let mut parts = split(text, Limit::new(Outgoing::MAX_TEXT, Unit::Characters));
        let mut sent = 0;
        if let Event::Interaction(interaction) = event
            && way(now, interaction) == Way::Interaction
        {
            if parts.is_empty() {
                parts.push(NOTHING.to_owned());
            }
            sent = self.answer_interaction(interaction, &parts).await?;
        }
        let Some(channel) = event.channel() else { return Ok(()) };
        for (index, part) in parts.into_iter().enumerate().skip(sent) {
            let reply_to = match event {
                // In a group, others write in between; a direct message needs no quote.
                Event::Message(message) if index == 0 && message.guild.is_some() => Some(message.id),
                _ => None,
            };
            let nonce = Some(nonce(&event.dedupe_key(), index));
            let message = Outgoing { text: part, reply_to, nonce, ephemeral: false };
            self.send_message(channel, &message).await?;
        }
        Ok(())
    }

    /// Sends parts through the interaction as long as it lives; answers how many.
    async fn answer_interaction(
        &self,
        interaction: &Interaction,
        parts: &[String],
    ) -> Result<usize, RestError> {
        let (application, token) = (interaction.application, &interaction.token);
        for (index, part) in parts.iter().enumerate() {
            let message = Outgoing::text(part);
            let sent = match index {
                0 => self.edit_response(application, token, &message).await,
                _ => self.follow_up(application, token, &message).await,
            };
            match sent {
                Ok(()) => {}
                // It ended early, or its deferral never arrived: what is left goes to the channel.
                Err(error) if error.is_gone() && interaction.channel.is_some() => {
                    tracing::info!(%error, "an interaction of discord is over before its answer");
                    return Ok(index);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(parts.len())
    }

    /// Shows that the bot types where the event came from. A deferral shows it by itself.
    pub async fn show_working(&self, event: &Event) -> Result<(), RestError> {
        match event {
            Event::Message(message) => self.show_typing(message.channel).await,
            Event::Interaction(_) => Ok(()),
        }
    }
}

/// A nonce that is the same for the same part of the answer to the same event, and for nothing else: 25 characters, as many as Discord takes.
fn nonce(event: &str, part: usize) -> String {
    let digest = Sha256::digest(format!("{event}/{part}"));
    let mut nonce = URL_SAFE_NO_PAD.encode(digest);
    nonce.truncate(25);
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_short_and_of_its_part_alone() {
        let nonces =
            [nonce("message/1", 0), nonce("message/1", 1), nonce("message/11", 0), nonce("message/1", 10)];
        for (index, one) in nonces.iter().enumerate() {
            assert_eq!(one.len(), 25);
            assert!(nonces[index + 1..].iter().all(|other| other != one));
        }
        assert_eq!(nonces[0], nonce("message/1", 0));
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
