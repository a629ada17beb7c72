//! The type of the agent.

use livos_core::conversation::{Inbound, Reply, ReplyError};
use tower::util::BoxCloneSyncService;

/// The agent: answers a message with a reply.
pub type Responder = BoxCloneSyncService<Inbound, Reply, ReplyError>;
