//! What the gateway's close codes mean for the next connection.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

/// What may follow a closed connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterClose {
    /// Connect again and resume.
    Resume,
    /// Connect again; the session is over.
    NewSession,
    /// Another attempt would be refused too.
    Stop(Fatal),
}

/// Discord refuses this bot until somebody changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// 4004, or 401 over HTTP.
    #[error("discord refused the bot's token")]
    AuthenticationFailed,
    /// 4010.
    #[error("discord refused our shard number")]
    InvalidShard,
    /// 4011.
    #[error("discord demands shards: the bot is in too many servers for one connection")]
    ShardingRequired,
    /// 4012.
    #[error("discord no longer serves our version of the gateway")]
    InvalidVersion,
    /// 4013.
    #[error("our configuration asks for intents that discord does not know")]
    InvalidIntents,
    /// 4014.
    #[error(
        "our configuration asks for privileged intents that are not enabled in discord's developer portal"
    )]
    DisallowedIntents,
}

/// Reads a close code; none where the connection broke without one.
pub fn after_close(code: Option<u16>) -> AfterClose {
    match code {
        Some(4004) => AfterClose::Stop(Fatal::AuthenticationFailed),
        Some(4010) => AfterClose::Stop(Fatal::InvalidShard),
        Some(4011) => AfterClose::Stop(Fatal::ShardingRequired),
        Some(4012) => AfterClose::Stop(Fatal::InvalidVersion),
        Some(4013) => AfterClose::Stop(Fatal::InvalidIntents),
        Some(4014) => AfterClose::Stop(Fatal::DisallowedIntents),
        // Not authenticated, an invalid sequence, a session that timed out: nothing of it can be
        // resumed.
        Some(4003 | 4007 | 4009) => AfterClose::NewSession,
        // What is not listed is worth a resume: Discord answers op 9 where it is not.
        _ => AfterClose::Resume,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_documentation() {
        let resumed =
            [None, Some(1000), Some(1006), Some(4000), Some(4001), Some(4002), Some(4005), Some(4008)];
        for code in resumed {
            assert_eq!(after_close(code), AfterClose::Resume, "{code:?}");
        }
        for code in [4003, 4007, 4009] {
            assert_eq!(after_close(Some(code)), AfterClose::NewSession, "{code}");
        }
        for code in [4004, 4010, 4011, 4012, 4013, 4014] {
            assert!(matches!(after_close(Some(code)), AfterClose::Stop(_)), "{code}");
        }
        assert_eq!(after_close(Some(4999)), AfterClose::Resume, "a code of the future");
    }
}
