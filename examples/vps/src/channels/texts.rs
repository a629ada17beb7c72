//! What people are told about pairing.

use livos_core::time::Timestamp;
use livos_integrations::pairing::{Device, News, Refusal};

/// What somebody is told who was paired.
pub const PAIRED: &str = "You are paired: from now on I answer you here.";

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
