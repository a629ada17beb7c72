//! What the answers of a session are told, and what they ask for.

use std::time::{Duration, Instant};

use bytes::Bytes;
use livos_core::conversation::{Heard, ReplyError, ReplyEvent};

use super::latency::{Recognition, Stamps};
use crate::{
    generation::Generation,
    transport::protocol::{ErrorCode, PlayoutState, ServerMessage},
    tts::TtsEvent,
    turn::{Commit, TurnInput},
};

#[derive(Debug)]
pub(in crate::pipeline) enum AnswerInput {
    /// Prepare an answer; nothing of it may be heard before the commit.
    Speculate(Commit),
    /// The turn is sure: answer it.
    Commit {
        commit: Commit,
        recognition: Recognition,
    },
    /// The speculation was wrong.
    Abandon(Generation),
    /// The user cut off this answer and every older one.
    Interrupt(Generation),
    /// Hold playout, or its beginning.
    Pause(Generation),
    /// Go on playing what was held.
    Resume(Generation),
    /// The responder answered the call; events follow.
    Replying,
    Replied(ReplyEvent),
    /// The reply's stream ended.
    ReplyEnded,
    ReplyFailed(ReplyError),
    Synthesised(TtsEvent),
    /// The synthesiser's session is over.
    SynthesiserClosed,
    /// The day's budget refused a piece of text.
    BudgetSpent,
    /// The client reported its player, as it was at `at`.
    Playout {
        generation: Generation,
        played: Duration,
        state: PlayoutState,
        at: Instant,
    },
    /// The server is shutting down.
    Drain,
    /// The session is over, whatever is under way.
    Close,
}

#[derive(Debug, PartialEq)]
pub(in crate::pipeline) enum Measure {
    /// A sentence was said before a late answer.
    Opener,
    /// The first words of the answer itself went to the synthesiser, so long after the end of the
    /// user's speech.
    AnswerBegan(Duration),
    /// The synthesiser reported on an answer that is not under way any more.
    LateSynthesis,
    /// Characters that the synthesiser has billed so far.
    Billed(u64),
}

#[derive(Debug)]
pub(in crate::pipeline) enum AnswerOutput {
    /// Call the responder with what the user said. An earlier call or reply is dropped.
    Ask(String),
    /// Make the reply final, if the responder has given one already.
    CommitReply,
    /// Read no more of the reply, and keep it for [`AnswerOutput::Heard`].
    StopReading,
    /// Drop the call or the reply.
    DropReply,
    /// Tell the reply what was heard, and drop it.
    Heard(Heard),
    /// The responder failed, and the user waits for its answer.
    ResponderFailed(ReplyError),
    /// Give text to the synthesiser, if the budget holds it.
    Speak {
        generation: Generation,
        text: String,
    },
    /// Tell the synthesiser that no more text comes.
    Finish(Generation),
    /// Tell the synthesiser to drop an answer.
    Cancel(Generation),
    /// Whether the synthesiser's events are taken from now on. They are at first.
    TakeAudio(bool),
    /// Send audio at the listener's rate.
    Audio {
        generation: Generation,
        bytes: Bytes,
    },
    /// The first audio was sent just now: complete the stamps and tell the client.
    Waterfall {
        generation: Generation,
        stamps: Stamps,
        opener: Option<String>,
    },
    Tell(ServerMessage),
    Turn(TurnInput),
    Measure(Measure),
    /// End the session with this error.
    End(ErrorCode, &'static str),
}
