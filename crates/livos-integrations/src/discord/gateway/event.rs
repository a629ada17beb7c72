//! What the gateway's machine is told, and what it answers.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::close::Fatal;

/// What is needed to take a session up again, in this process or in the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Its name.
    pub id: Arc<str>,
    /// Where it is resumed.
    pub resume_url: Arc<str>,
    /// The last event of it that was *processed*: everything up to here is durably enqueued.
    /// Discord replays what comes after.
    pub sequence: u64,
}

/// What the peer said, as far as the connection is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Incoming {
    /// Op 10.
    Hello {
        /// How often a heartbeat is due.
        heartbeat_interval: Duration,
    },
    /// Op 1: a heartbeat is wanted now.
    HeartbeatRequest,
    /// Op 11.
    HeartbeatAck,
    /// Op 7: connect again and resume.
    Reconnect,
    /// Op 9.
    InvalidSession {
        /// Whether a resume may succeed.
        resumable: bool,
    },
    /// A session began.
    Ready(Session),
    /// The replay is over.
    Resumed {
        /// Its number.
        sequence: u64,
    },
    /// Any other event.
    Dispatch {
        /// Its number.
        sequence: u64,
    },
}

/// What may happen.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayInput {
    /// Connect for the first time.
    Start,
    /// A session may be begun: it was counted, durably.
    IdentifyAllowed,
    /// Not yet.
    IdentifyDenied {
        /// Ask again after this time.
        wait: Duration,
    },
    /// The address that [`GatewayOutput::Connect`] named is connected.
    Opened,
    /// It is not.
    NotOpened {
        /// How long the peer asked to be left alone.
        retry_after: Option<Duration>,
    },
    /// A message of the peer.
    Message(Incoming),
    /// The peer closed the connection, or it broke.
    Lost {
        /// With this code.
        code: Option<u16>,
    },
    /// An event was processed: what it asks for is durable, and the number is too.
    Processed {
        /// Of this session.
        session: Arc<str>,
        /// With this number.
        sequence: u64,
    },
    /// Events come faster than they are processed, and no more can be held.
    Overwhelmed,
    /// Show the bot like this. The newest wish counts.
    Show(Presence),
    /// What is asked of Discord can't succeed.
    Refused(Fatal),
    /// Finish: the session stays, for the next process to resume.
    Drain,
}

/// What the bot shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Whether it shows as idle rather than online.
    pub idle: bool,
    /// A line of text below its name, at most 128 characters; none where it is empty.
    pub text: String,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatewayOutput {
    /// Count an identify, durably, and tell whether it is allowed.
    ReserveIdentify,
    /// Open a connection. There is none.
    Connect {
        /// The session's own address; none for the main one.
        resume_url: Option<Arc<str>>,
    },
    /// Send this.
    Send(Command),
    /// Close the connection with this code and forget it: nothing of it is to be told any more.
    Close {
        /// The code. Never 1000 or 1001, with which Discord would end the session.
        code: u16,
    },
    /// A session began; everything that follows belongs to it. Persist it before what follows is
    /// processed.
    Began(Session),
    /// The session is up to date.
    Resumed,
    /// The session is over.
    Forgot,
    /// Nothing to do but to tell: the next connection comes after the delay.
    Wait {
        /// How long.
        delay: Duration,
    },
    /// There will be nothing more.
    Stop(Stop),
}

/// Something that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// Op 1.
    Heartbeat {
        /// The last event that came.
        sequence: Option<u64>,
    },
    /// Op 2.
    Identify,
    /// Op 6.
    Resume(Session),
    /// Op 3.
    Presence(Presence),
}

/// Why there is nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// As asked.
    Drained,
    /// Discord refuses the bot.
    Fatal(Fatal),
}
