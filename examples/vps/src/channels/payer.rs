//! Whose usage an answer in a chat app is booked as.

use livos_core::{
    conversation::Speaker,
    user::{InvalidUserId, UserId},
};
use livos_integrations::pairing::Sender;

/// The owner pays for the owner, everyone who is paired has an account of their own, and the
/// strangers of one app share one: an account each would give every new stranger a new budget.
pub fn payer(speaker: Speaker, sender: &Sender) -> Result<UserId, InvalidUserId> {
    match speaker {
        Speaker::Owner => Ok(UserId::owner()),
        Speaker::Paired => UserId::try_from(format!("{}:{}", sender.channel(), sender.id())),
        _ => guests(&sender.channel().to_string()),
    }
}

/// The account that the strangers of an app share.
pub fn guests(app: &str) -> Result<UserId, InvalidUserId> {
    UserId::try_from(format!("{app}:guests"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_owner_spends_what_is_the_owners() {
        let sender = |id: &str| Sender::new("telegram".try_into().unwrap(), id).unwrap();
        let booked = |speaker, id| payer(speaker, &sender(id)).unwrap().to_string();
        assert_eq!(booked(Speaker::Owner, "7"), "owner");
        assert_eq!(booked(Speaker::Paired, "8"), "telegram:8");
        assert_eq!(booked(Speaker::GroupMember, "9"), "telegram:guests");
        assert_eq!(booked(Speaker::GroupMember, "10"), "telegram:guests");
    }
}
