//! What people are told about pairing, and about questions that get no answer.

use livos_core::{
    conversation::{ReplyError, ReplyErrorKind},
    time::Timestamp,
};
use livos_integrations::pairing::{Device, News, Refusal};

/// What somebody is told who was paired.
pub const PAIRED: &str = "You are paired: from now on I answer you here.";

/// What somebody is told whose question is dead.
pub fn unanswered(error: &ReplyError) -> &'static str {
    match error.kind() {
        ReplyErrorKind::Limit => {
            "I could not answer that: the limit on what I may use was reached for too long."
        }
        ReplyErrorKind::Unauthorized => "I could not answer that: the model refused my key for too long.",
        kind if kind.is_outage() => "I could not answer that: the model could not be reached for too long.",
        _ => "I could not answer that: the model refused the request.",
    }
}

/// What somebody is told whose question waits for the end of an outage.
pub fn waiting(error: &ReplyError) -> &'static str {
    match error.kind() {
        ReplyErrorKind::Limit => {
            "The limit on what I may use is reached for now. I will answer as soon as there is room again."
        }
        ReplyErrorKind::Unauthorized => {
            "The model refuses my key just now. I will answer as soon as that is put right."
        }
        _ => "The model is not reachable just now. I will answer as soon as it is back.",
    }
}

fn minutes(now: Timestamp, until: Timestamp) -> u64 {
    until.since(now).as_secs().div_ceil(60).max(1)
}

/// A refusal in words for the person who sent the code.
pub fn refused(now: Timestamp, refusal: Refusal) -> String {
    match refusal {
        Refusal::Wrong { left } => {
            format!(
                "This code is wrong, was used before, or is over; you may try {left} more times this hour."
            )
        }
        Refusal::Locked { until } | Refusal::ChannelHeld { until } => {
            format!("Too many wrong codes came in: try again in {} min.", minutes(now, until))
        }
        other => format!("This did not work: {other}."),
    }
}

/// News in words for paired people.
pub fn headline(now: Timestamp, news: &News) -> Option<String> {
    let who = |device: &Device| format!("{} on {}", plain(&device.label), device.sender.channel());
    Some(match news {
        News::Paired(device) => format!("{} was paired, as device {}.", who(device), device.id.0),
        News::Asks(device) => format!("{} asks to be let in, as device {}.", who(device), device.id.0),
        News::Revoked(device) => format!("The pairing of {} was ended.", who(device)),
        News::LockedOut { sender, until } => {
            format!("{sender} sent too many wrong codes, and is locked out for {} min.", minutes(now, *until))
        }
        News::ChannelHeld { channel, until } => format!(
            "Too many wrong codes came in on {channel}: nobody can pair there for {} min.",
            minutes(now, *until)
        ),
        _ => return None,
    })
}

/// A name that somebody chose, without anything that a chat app would show as a link, a mention or
/// a style.
fn plain(label: &str) -> String {
    let kept: String =
        label.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '\'')).collect();
    if kept.trim().is_empty() { "Somebody".to_owned() } else { kept.trim().to_owned() }
}
