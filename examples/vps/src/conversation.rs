//! Ids of new conversations.

use livos_core::conversation::ConversationId;
use uuid::Uuid;

/// The id of a conversation that begins now.
pub fn begin() -> ConversationId {
    let id = Uuid::now_v7().simple().to_string();
    ConversationId::try_from(id.as_str())
        .unwrap_or_else(|_| unreachable!("32 hexadecimal digits are a valid id"))
}
