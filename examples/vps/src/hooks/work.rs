//! The agent's work on a delivery.

use std::sync::Arc;

use futures_util::StreamExt;
use livos_core::{
    conversation::{
        Channel, ConversationId, Finish, Heard, Inbound, ReplyError, ReplyErrorKind, ReplyEvent, Speaker,
    },
    queue::{Job, JobKind, Outcome},
    user::{InvalidUserId, UserId},
};
use livos_integrations::webhook::Received;
use tower::{BoxError, ServiceExt};

use crate::providers::Responder;

/// The most of a delivery that the agent reads, in bytes. 32 KiB: as much as a person may type.
const MAX_TEXT: usize = 32 * 1024;
/// The most of an answer that is logged, in bytes.
const MAX_LOGGED: usize = 2 * 1024;

/// Hands one delivery to the agent, and logs what it says.
pub async fn work(lease: Job, responder: Responder, task: Arc<str>) -> Result<Outcome, BoxError> {
    let Ok(received) = Received::from_payload(&lease.payload) else {
        return Ok(Outcome::Dead { reason: "its payload is not a delivery".into() });
    };
    match answer(inbound(&lease, &received, &task)?, responder).await {
        Ok(said) => {
            let Received { provider, id, .. } = &received;
            let said = &said[..said.floor_char_boundary(MAX_LOGGED)];
            tracing::info!(job = %lease.id, kind = %lease.kind, provider, id, said, "the agent worked on a delivery");
            metrics::counter!("livos_webhook_worked_total", "provider" => provider.clone()).increment(1);
            Ok(Outcome::Done)
        }
        Err(error) => {
            let reason = error.to_string();
            Ok(Outcome::of_failed_reply(&lease, &error, reason))
        }
    }
}

/// The delivery as a message: the task is the operator's, everything that came in is data.
fn inbound(lease: &Job, received: &Received, task: &str) -> Result<Inbound, BoxError> {
    let conversation = ConversationId::try_from(format!("{}:{}", lease.kind, lease.id).as_str())?;
    let (speaker, payer) = (Speaker::GroupMember, payer(&lease.kind)?);
    let mut inbound = Inbound::new(conversation, Channel::Chat, speaker, payer, task);
    let body = String::from_utf8_lossy(&received.body);
    let body = &body[..body.floor_char_boundary(MAX_TEXT)];
    let event = received.event.as_deref().unwrap_or("unnamed");
    inbound.untrusted.push(format!("provider: {}\nevent: {event}\n\n{body}", received.provider));
    Ok(inbound)
}

/// Whose usage the work on an endpoint's deliveries is booked as: the endpoint's own, `hook:NAME`,
/// so that its senders cannot spend the owner's budget.
fn payer(kind: &JobKind) -> Result<UserId, InvalidUserId> {
    let name = kind.as_str().trim_start_matches("webhook.");
    UserId::try_from(format!("hook:{name}"))
}

async fn answer(inbound: Inbound, responder: Responder) -> Result<String, ReplyError> {
    let mut reply = responder.oneshot(inbound).await?;
    reply.commit();
    let mut said = String::new();
    while let Some(event) = reply.next().await {
        match event? {
            ReplyEvent::Text(text) => said.push_str(&text),
            ReplyEvent::Finished(Finish::Refused) if said.trim().is_empty() => {
                return Err(ReplyError::new(ReplyErrorKind::Rejected, "the model declined to answer"));
            }
            _ => {}
        }
    }
    reply.heard(Heard { text: said.clone(), complete: true });
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_is_at_the_expense_of_its_endpoint() {
        assert_eq!(payer(&JobKind::from_static("webhook.github-main")).unwrap().as_str(), "hook:github-main");
    }
}
