//! What stands between a chat app and the agent.
//!
//! Anyone who is let in by the channel's policy talks to the agent. A stranger in private is told
//! how to pair, at most once an hour, and pairs by sending a code that was issued. All others get
//! no answer.

use std::{sync::Arc, time::Duration};

use livos_core::{
    conversation::{Inbound, Reply, ReplyError, ReplyErrorKind},
    queue::{Job, Outcome},
    store::{Family, Lifetime, Put},
    time::{Clock, SystemClock},
};
use livos_integrations::{
    pairing::{Access, Arrival, ChannelName, PairingCode, PairingState, Sender},
    sender::{DeliverConfig, DeliverError, Outbox, deliver},
};
use tower::{BoxError, ServiceExt};

use super::{
    app::{ChatApp, Said},
    desk::Desk,
    notes::{Heard, Notes, VoiceNote},
    payer::payer,
    texts::{self, PAIRED},
};
use crate::providers::Responder;

/// How often a stranger is told how to pair. An hour: a person who reads it once knows, and a
/// program that writes on is not worth an answer.
const TELL_EVERY: Duration = Duration::from_secs(3600);
/// Strangers who were told how to pair.
pub const TOLD: Family = Family::new(
    "pairing",
    "told",
    Lifetime::For(TELL_EVERY),
    "a stranger was told how to pair, and by which job",
);
/// The waits of a question for the end of an outage after which its sender is told. 3: about half a
/// minute by default, and a shorter outage is not worth a message.
const TELL_AFTER: u32 = 3;
/// People who were told that their questions wait.
pub const WAITING: Family = Family::new(
    "channels",
    "waiting",
    Lifetime::For(TELL_EVERY),
    "somebody was told that answers wait for a provider, and by which job",
);
/// All that a stranger is told: nothing about whose server this is.
const HOW_TO_PAIR: &str =
    "I don't know you yet. If you were given a pairing code, such as K7MP-2XWD, send it here.";

/// The answer to `/help`, and to `/start`, which Telegram sends when somebody opens the chat.
const HELP: &str = "Write to me, or send me a voice note, and I answer. In a group, mention me or answer one of my messages.";
/// What stands between an app and the agent.
pub struct Door {
    pub channel: ChannelName,
    pub app: Arc<dyn ChatApp>,
    pub desk: Desk,
    /// What was already sent of each answer.
    pub outbox: Outbox,
    pub responder: Responder,
    pub notes: Notes,
}

/// What a message is answered with.
enum Answer {
    Agent(Box<Inbound>),
    Redeem(PairingCode),
    Sentence(&'static str),
}

impl Door {
    /// Decides about one message, and answers it.
    pub async fn work(self: Arc<Self>, lease: Job) -> Result<Outcome, BoxError> {
        let mut said = match self.app.read(&lease).await {
            Ok(Some(said)) => said,
            Ok(None) => return Ok(Outcome::Done),
            Err(outcome) => return Ok(outcome),
        };
        let sender = Sender::new(self.channel.clone(), said.sender.as_str())?;
        let state = self.desk.state().await?;
        let arrival = Arrival { sender: &sender, group: said.group.as_deref(), mentioned: said.mentioned };
        let access = self.app.policy().decide(&state, arrival);
        let Some(answer) = self.answer(access, &state, &sender, &said, &lease).await? else {
            return Ok(Outcome::Done);
        };
        let note = said.note.take();
        // Asked only where no earlier attempt got the whole answer: a code is not redeemed twice,
        // and a voice note not heard again.
        let ask = || async {
            match answer {
                Answer::Agent(inbound) => self.ask(*inbound, note).await,
                Answer::Sentence(text) => Ok(Reply::from_text(text)),
                Answer::Redeem(code) => {
                    let told = self.desk.redeem(sender.clone(), said.label.clone(), code).await;
                    told.map(Reply::from_text).map_err(|error| {
                        ReplyError::new(ReplyErrorKind::Unavailable, "the code could not be checked")
                            .with_source(error)
                    })
                }
            }
        };
        match deliver(&*said.outlet, &self.outbox, &said.name, DeliverConfig::default(), ask).await {
            Ok(()) => Ok(Outcome::Done),
            Err(error) => {
                let outcome = error.outcome(&lease);
                if let DeliverError::Agent(failure) = &error {
                    self.explain(&said, &sender, &lease, failure, &outcome).await;
                }
                Ok(outcome)
            }
        }
    }

    /// Tells the sender once that there will be no answer, or that it will take a while. If that
    /// fails the outcome stays: the chat is away as well then.
    async fn explain(
        &self,
        said: &Said,
        sender: &Sender,
        lease: &Job,
        failure: &ReplyError,
        outcome: &Outcome,
    ) {
        let (ending, text) = if outcome.is_final(lease) {
            metrics::counter!("livos_chat_unanswered_total", "channel" => self.app.name()).increment(1);
            ("unanswered", texts::unanswered(failure))
        } else if matches!(outcome, Outcome::Wait { .. }) && lease.waits + 1 >= TELL_AFTER {
            match self.tells(WAITING, sender, &said.name).await {
                Ok(true) => ("waiting", texts::waiting(failure)),
                Ok(false) => return,
                Err(error) => return tracing::warn!(%error, "whether somebody was told to wait is unknown"),
            }
        } else {
            return;
        };
        let name = format!("{}/{ending}", said.name);
        let say = || async { Ok::<_, ReplyError>(Reply::from_text(text)) };
        let told = deliver(&*said.outlet, &self.outbox, &name, DeliverConfig::default(), say).await;
        if let Err(error) = told {
            tracing::warn!(%error, text, "why there is no answer could not be told");
        }
    }

    async fn ask(&self, mut inbound: Inbound, note: Option<VoiceNote>) -> Result<Reply, ReplyError> {
        if let Some(note) = note {
            match self.notes.hear(note, &inbound.payer).await? {
                Heard::Words(words) if inbound.text.trim().is_empty() => inbound.text = words,
                Heard::Words(words) => inbound.text = format!("{}\n\n{words}", inbound.text),
                Heard::Nothing(why) => return Ok(Reply::from_text(why)),
            }
        }
        self.responder.clone().oneshot(inbound).await
    }

    /// What the message is answered with; nothing where it is not.
    async fn answer(
        &self,
        access: Access,
        state: &PairingState,
        sender: &Sender,
        said: &Said,
        lease: &Job,
    ) -> Result<Option<Answer>, BoxError> {
        let code = PairingCode::parse(&said.inbound.text);
        let (outcome, answer) = match (access, code) {
            (Access::Ignored, _) => ("ignored", None),
            // An earlier attempt redeemed it, and ended before it said so.
            (Access::Granted(_), Some(_)) if lease.attempt > 1 && paired_since(state, sender, lease) => {
                ("paired", Some(Answer::Sentence(PAIRED)))
            }
            (Access::Granted(_), _) if said.asks_for_help => ("granted", Some(Answer::Sentence(HELP))),
            (Access::Granted(speaker), _) => {
                let mut inbound = said.inbound.clone();
                inbound.speaker = speaker;
                inbound.payer = payer(speaker, sender)?;
                ("granted", Some(Answer::Agent(Box::new(inbound))))
            }
            (Access::NeedsPairing, Some(code)) => ("code", Some(Answer::Redeem(code))),
            (Access::NeedsPairing, None) => {
                let tell = self.tells(TOLD, sender, &said.name).await?;
                ("stranger", tell.then_some(Answer::Sentence(HOW_TO_PAIR)))
            }
        };
        metrics::counter!("livos_chat_messages_total", "channel" => self.app.name(), "access" => outcome)
            .increment(1);
        Ok(answer)
    }

    /// Whether this job is the one that tells the sender this in this hour. The first one is, and a
    /// further attempt of it.
    async fn tells(&self, what: Family, sender: &Sender, job: &str) -> Result<bool, BoxError> {
        let (now, key) = (SystemClock.now(), what.key(&sender.to_string())?);
        let store = self.desk.store();
        Ok(match store.put_if(now, &key, job.to_owned().into(), None).await? {
            Put::Written(_) => true,
            Put::Conflict(_) => store.get(now, &key).await?.is_some_and(|told| told.value == job.as_bytes()),
        })
    }
}

fn paired_since(state: &PairingState, sender: &Sender, lease: &Job) -> bool {
    state.devices().iter().any(|device| device.sender == *sender && device.since >= lease.enqueued_at)
}
