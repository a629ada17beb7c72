//! One answer, from the call of the responder until its last sample was played.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_core::Stream;
use livos_core::conversation::{Heard, Reply, ReplyError, ReplyEvent};

use super::{heard::HeardWords, latency::Stamps, playout::Playout};
use crate::{
    generation::Generation,
    tts::chunk::{ChunkConfig, Chunker},
};

/// The longest answer, in bytes. An hour of speech is 50 kB; a model that goes on for ever must not
/// fill the memory.
pub(super) const MAX_ANSWER: usize = 64 * 1024;

/// The responder on its way to a reply.
pub(super) type Call = Pin<Box<dyn Future<Output = Result<Reply, ReplyError>> + Send>>;

/// The answer under way.
pub(super) struct Answer {
    pub(super) generation: Generation,
    stage: Stage,
    /// When the responder was called, or last said something.
    pub(super) asked: Instant,
    /// The turn is sure; before that, nothing of the answer may be heard.
    committed: bool,
    /// All that is to be said so far: the opener, where there was one, and what the responder said.
    pub(super) text: String,
    /// When an opener is due, unless there is an answer by then.
    pub(super) opener_at: Option<Instant>,
    /// How much of the text is the opener.
    opener: usize,
    /// The opener has yet to be spoken.
    opening: bool,
    /// Something of what the responder said went to the synthesiser.
    pub(super) begun: bool,
    pub(super) chunker: Chunker,
    /// How much of the text went to the chunker.
    pub(super) fed: usize,
    /// How much of the text was shown as text; none of it for an answer that is only spoken.
    pub(super) shown: Option<usize>,
    /// It is not, or no longer, spoken.
    pub(super) mute: bool,
    /// The synthesiser was told that no more text comes.
    pub(super) finished: bool,
    /// Audio was sent, so the listener knows of it.
    pub(super) started: bool,
    /// All its audio was sent.
    pub(super) sent_all: bool,
    /// The client said that its player has ended.
    pub(super) player_ended: bool,
    /// Turn taking holds it.
    pub(super) held: bool,
    pub(super) words: HeardWords,
    pub(super) playout: Playout,
    pub(super) stamps: Stamps,
}

enum Stage {
    Calling(Call),
    Streaming(Reply),
    Ended(Option<Reply>),
}

impl Answer {
    pub(super) fn new(
        now: Instant,
        generation: Generation,
        call: Call,
        stamps: Stamps,
        reports: bool,
        chunk: ChunkConfig,
    ) -> Self {
        Self {
            generation,
            stage: Stage::Calling(call),
            asked: now,
            committed: false,
            text: String::new(),
            opener_at: None,
            opener: 0,
            opening: false,
            begun: false,
            chunker: Chunker::new(chunk),
            fed: 0,
            shown: None,
            mute: false,
            finished: false,
            started: false,
            sent_all: false,
            player_ended: false,
            held: false,
            words: HeardWords::default(),
            playout: Playout::new(reports),
            stamps,
        }
    }

    /// The turn is sure.
    pub(super) fn commit(&mut self) {
        self.committed = true;
        if let Stage::Streaming(reply) | Stage::Ended(Some(reply)) = &mut self.stage {
            reply.commit();
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        self.committed
    }

    /// True while the responder has more to say.
    pub(super) fn is_reading(&self) -> bool {
        !matches!(self.stage, Stage::Ended(_))
    }

    /// The responder's next event, or none at its end. Pending for ever after that.
    pub(super) fn poll_event(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<ReplyEvent, ReplyError>>> {
        loop {
            match &mut self.stage {
                Stage::Calling(call) => match std::task::ready!(call.as_mut().poll(cx)) {
                    Ok(mut reply) => {
                        if self.committed {
                            reply.commit();
                        }
                        self.stage = Stage::Streaming(reply);
                    }
                    Err(error) => {
                        self.stage = Stage::Ended(None);
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Stage::Streaming(reply) => {
                    let event = std::task::ready!(Pin::new(reply).poll_next(cx));
                    if !matches!(event, Some(Ok(_))) {
                        self.end();
                    }
                    return Poll::Ready(event);
                }
                Stage::Ended(_) => return Poll::Pending,
            }
        }
    }

    /// When an opener is due; none once the answer has begun, or where nothing is spoken.
    pub(super) fn opener_due(&self) -> Option<Instant> {
        let waits = self.text.is_empty() && self.is_reading() && !self.mute && !self.held;
        self.opener_at.filter(|_| waits)
    }

    /// Says this before the answer.
    pub(super) fn open_with(&mut self, now: Instant, sentence: &str) {
        self.text = format!("{sentence} ");
        (self.opener, self.fed, self.opening) = (self.text.len(), self.text.len(), true);
        self.stamps.first_text = Some(now);
    }

    /// The opener; empty where there was none.
    pub(super) fn opener(&self) -> &str {
        self.text[..self.opener].trim_end()
    }

    /// What the responder said so far.
    pub(super) fn said(&self) -> &str {
        &self.text[self.opener..]
    }

    /// Takes the opener from a beginning of the text.
    pub(super) fn without_opener<'a>(&self, beginning: &'a str) -> &'a str {
        beginning.get(self.opener..).unwrap_or_default()
    }

    /// The next piece to speak. An opener is one of its own, so the answer begins with a quick
    /// first clause all the same.
    pub(super) fn next_piece(&mut self, now: Instant) -> Option<String> {
        if std::mem::take(&mut self.opening) {
            return Some(self.text[..self.opener].to_owned());
        }
        let piece = self.chunker.next_piece().or_else(|| self.chunker.handle_timeout(now));
        let piece = match self.is_reading() {
            true => piece,
            false => piece.or_else(|| self.chunker.finish()),
        };
        self.begun |= piece.is_some();
        piece
    }

    /// The responder is not listened to any more.
    pub(super) fn end(&mut self) {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Ended(None)) {
            Stage::Calling(_) => Stage::Ended(None),
            Stage::Streaming(reply) => Stage::Ended(Some(reply)),
            ended => ended,
        };
    }

    /// The text that reached the listener: what was played, or what was shown where that is more.
    pub(super) fn heard(&self, now: Instant) -> &str {
        let played = self.words.text(&self.text, self.playout.played(now), self.playout.sent());
        let shown = &self.text[..self.shown.unwrap_or(0)];
        if shown.len() > played.len() { shown } else { played }
    }

    /// Whether everything the listener will get of it has reached them.
    pub(super) fn is_over(&self, now: Instant, patience: Duration) -> bool {
        if self.is_reading() || !self.committed || self.held {
            return false;
        }
        match (self.started, self.sent_all) {
            (false, sent_all) => sent_all || self.mute || self.text.trim().is_empty(),
            (true, false) => false,
            (true, true) => self.player_ended || self.over_at(patience).is_some_and(|at| at <= now),
        }
    }

    /// When it is over if the player reports nothing more.
    pub(super) fn over_at(&self, patience: Duration) -> Option<Instant> {
        let slack = if self.playout.reports() { patience } else { Duration::ZERO };
        let ends = self.playout.ends_at().filter(|_| self.sent_all && !self.held && !self.is_reading());
        ends.map(|at| at + slack)
    }

    /// Tells the responder what was heard, and ends.
    pub(super) fn close(mut self, heard: Heard) {
        self.end();
        if let (true, Stage::Ended(Some(reply))) = (self.committed, &mut self.stage) {
            reply.heard(heard);
        }
    }
}
