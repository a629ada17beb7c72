//! Decides what becomes of an answer: when the responder is asked, what is spoken and shown of what
//! it says, when the answer is over, and what was heard of it.
//!
//! There is one answer at a time. What belongs to an older generation is dropped here.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use livos_core::{
    conversation::{Heard, ReplyError, ReplyErrorKind, ReplyEvent},
    machine::Machine,
};

use super::{
    event::{AnswerInput, AnswerOutput, Measure},
    flow::Flow,
    latency::Recognition,
    opener::Openers,
    playout::Playout,
    state::{Answer, Audio, Standing, Text},
    voice::Voice,
};
use crate::{
    generation::Generation,
    pipeline::config::SessionConfig,
    transport::protocol::{ErrorCode, PlayoutState, ServerMessage},
    turn::{Commit, Origin, TurnInput},
};

/// The answers of one session, one after another.
#[derive(Debug)]
pub(in crate::pipeline) struct Answers {
    pub(super) config: SessionConfig,
    openers: Option<Openers>,
    pub(super) voice: Voice,
    pub(super) current: Option<Answer>,
    pub(super) synthesiser: Synthesiser,
    pub(super) flow: Flow,
    service: Service,
    /// The client has reported its player before.
    reports: bool,
    outputs: VecDeque<AnswerOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Synthesiser {
    Usable,
    /// It did not answer in time. The next answer is shown at once, and given to it all the same:
    /// once it speaks it is usable again.
    Doubtful,
    /// It refused for good, or its session is over: answers come as text.
    Gone,
}

/// Whether the session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Service {
    Open,
    /// It ends at that time, or with the answer under way.
    Draining {
        until: Instant,
    },
    Over,
}

impl Answers {
    pub(in crate::pipeline) fn new(config: SessionConfig, openers: Option<Openers>, voice: Voice) -> Self {
        Self {
            flow: Flow::new(config.max_audio_ahead),
            config,
            openers,
            voice,
            current: None,
            synthesiser: Synthesiser::Usable,
            service: Service::Open,
            reports: false,
            outputs: VecDeque::new(),
        }
    }

    pub(super) fn committed(&mut self) -> Option<&mut Answer> {
        self.current.as_mut().filter(|answer| answer.is_committed())
    }

    fn of(&mut self, generation: Generation) -> Option<&mut Answer> {
        self.current.as_mut().filter(|answer| answer.generation == generation)
    }

    pub(super) fn put(&mut self, output: AnswerOutput) {
        self.outputs.push_back(output);
    }

    pub(super) fn tell(&mut self, message: ServerMessage) {
        self.put(AnswerOutput::Tell(message));
    }

    // What turn taking decides.

    fn ask(&mut self, now: Instant, commit: &Commit) {
        let mut answer = Answer::new(now, commit.generation, commit.end_of_speech, self.config.chunk);
        answer.playout = Playout::new(self.reports);
        if self.synthesiser == Synthesiser::Gone {
            answer.audio = Audio::Mute;
        }
        self.current = Some(answer);
        self.put(AnswerOutput::Ask(commit.text.clone()));
    }

    fn commit(&mut self, now: Instant, commit: &Commit, recognition: Recognition) {
        self.tell(ServerMessage::Transcript { text: commit.text.clone(), is_final: true });
        if self.of(commit.generation).is_none() {
            self.ask(now, commit);
        }
        let typed = commit.origin == Origin::Typed;
        let shown = typed || self.synthesiser != Synthesiser::Usable;
        let opener_after = self.openers.as_ref().map(Openers::after);
        let Some(answer) = &mut self.current else { return };
        answer.standing = Standing::Committed;
        // Nobody waited for the recogniser of a typed message.
        let recognition = if typed { Recognition::default() } else { recognition };
        answer.stamps.commit(now, commit.end_of_speech, recognition);
        if shown || answer.audio == Audio::Mute {
            answer.script.show_from(0);
        }
        // A user who typed sees that an answer comes, so nothing is said before it.
        answer.opener_at = opener_after.filter(|_| !typed).map(|after| commit.end_of_speech + after);
        self.put(AnswerOutput::CommitReply);
        self.speak(now);
    }

    fn abandon(&mut self, generation: Generation) {
        if self.of(generation).is_some() {
            self.current = None;
            self.put(AnswerOutput::DropReply);
        }
    }

    fn interrupt(&mut self, now: Instant, generation: Generation) {
        if self.current.as_ref().is_some_and(|answer| answer.generation <= generation) {
            self.close(now, false);
        }
    }

    fn pause(&mut self, now: Instant, generation: Generation) {
        let Some(answer) = self.of(generation) else { return };
        answer.playout.pause(now);
        if answer.has_sounded() {
            self.tell(ServerMessage::Pause { generation });
        }
    }

    fn resume(&mut self, now: Instant, generation: Generation) {
        let Some(answer) = self.of(generation) else { return };
        answer.playout.resume(now);
        if answer.has_sounded() {
            self.tell(ServerMessage::Resume { generation });
        }
    }

    // What the responder answers.

    fn replying(&mut self) {
        if self.committed().is_some() {
            self.put(AnswerOutput::CommitReply);
        }
    }

    fn replied(&mut self, now: Instant, event: ReplyEvent) {
        let Some(answer) = &mut self.current else { return };
        let mut whole = !answer.is_reading();
        match event {
            ReplyEvent::Text(text) => {
                answer.stamps.first_text.get_or_insert(now);
                whole |= !answer.script.push(&text);
            }
            ReplyEvent::Finished(_) => whole = true,
            _ => {}
        }
        answer.text = if whole { Text::Whole } else { Text::Coming { since: now } };
        if whole {
            self.put(AnswerOutput::StopReading);
        }
        self.speak(now);
    }

    fn reply_ended(&mut self, now: Instant) {
        if let Some(answer) = &mut self.current {
            answer.text = Text::Whole;
            self.speak(now);
        }
    }

    fn reply_failed(&mut self, now: Instant, error: ReplyError) {
        let Some(answer) = &mut self.current else { return };
        if !answer.is_committed() {
            // Nothing was promised yet: a commit asks again.
            self.current = None;
            return self.put(AnswerOutput::DropReply);
        }
        answer.text = Text::Whole;
        if answer.script.said().trim().is_empty() {
            answer.script.push(&self.config.apology);
        }
        self.put(AnswerOutput::ResponderFailed(error));
        self.speak(now);
    }

    /// Hands on what the answer has to say.
    pub(super) fn speak(&mut self, now: Instant) {
        let Some(answer) = self.current.as_mut().filter(|answer| answer.is_committed()) else { return };
        let generation = answer.generation;
        if let Some(text) = answer.script.next_shown() {
            self.outputs.push_back(AnswerOutput::Tell(ServerMessage::Reply { generation, text }));
        }
        if answer.audio != Audio::Open {
            return;
        }
        let (whole, begun) = (!answer.is_reading(), answer.script.begun());
        answer.script.feed(now);
        while let Some(text) = answer.script.next_piece(now, whole) {
            answer.owe(now);
            answer.stamps.first_clause.get_or_insert(now);
            self.outputs.push_back(AnswerOutput::Speak { generation, text });
        }
        if begun != answer.script.begun() {
            let waited = now.saturating_duration_since(answer.stamps.end_of_speech);
            self.outputs.push_back(AnswerOutput::Measure(Measure::AnswerBegan(waited)));
        }
        if whole {
            answer.audio = Audio::Finishing;
            answer.owe(now);
            self.outputs.push_back(AnswerOutput::Finish(generation));
        }
    }

    /// Says a sentence before the answer, if the answer is not there in time.
    fn open_with_a_sentence(&mut self, now: Instant) {
        let answer = self.current.as_mut().filter(|answer| answer.opener_due().is_some_and(|at| at <= now));
        let (Some(answer), Some(openers)) = (answer, &mut self.openers) else { return };
        let text = answer.script.open_with(openers.take());
        answer.owe(now);
        answer.stamps.first_text = Some(now);
        answer.stamps.first_clause = Some(now);
        let generation = answer.generation;
        self.put(AnswerOutput::Measure(Measure::Opener));
        self.put(AnswerOutput::Speak { generation, text });
    }

    fn budget_spent(&mut self) {
        self.outputs.retain(|output| !matches!(output, AnswerOutput::Speak { .. }));
        self.end(ErrorCode::BudgetExhausted, "the day's budget for the voice is spent");
    }

    // What the client reports.

    fn played(&mut self, generation: Generation, played: Duration, state: PlayoutState, at: Instant) {
        self.reports = true;
        let Some(answer) = self.of(generation) else { return };
        answer.playout.report(at, played, state);
        match state {
            PlayoutState::Started | PlayoutState::Playing => {
                self.put(AnswerOutput::Turn(TurnInput::PlayoutStarted(generation)));
            }
            // A player that has run dry before everything was sent goes on when more comes.
            PlayoutState::Ended if !answer.expects_audio() => answer.playout.end(),
            PlayoutState::Ended | PlayoutState::Held => {}
        }
    }

    // How answers and sessions end.

    fn close(&mut self, now: Instant, complete: bool) {
        let Some(answer) = self.current.take() else { return };
        let generation = answer.generation;
        let text = if complete { answer.script.text() } else { answer.heard(now) };
        if !complete {
            if answer.has_sounded() {
                self.tell(ServerMessage::Clear { generation });
            }
            if answer.script.was_fed() {
                self.put(AnswerOutput::Cancel(generation));
            }
            self.voice.reset();
        }
        match answer.standing {
            Standing::Provisional => self.put(AnswerOutput::DropReply),
            Standing::Committed => {
                self.tell(ServerMessage::ReplyEnd { generation, heard: text.to_owned(), complete });
                // The responder is told of the answer alone: an opener in the history would teach
                // the model to begin with one.
                let text = answer.script.without_opener(text).to_owned();
                self.put(AnswerOutput::Heard(Heard { text, complete }));
            }
        }
        if complete {
            self.put(AnswerOutput::Turn(TurnInput::PlayoutEnded(generation)));
        }
    }

    fn drain(&mut self, now: Instant) {
        if self.service == Service::Open {
            self.service = Service::Draining { until: now + self.config.drain_patience };
        }
    }

    fn end(&mut self, code: ErrorCode, message: &'static str) {
        if self.service != Service::Over {
            self.service = Service::Over;
            self.put(AnswerOutput::End(code, message));
        }
    }

    /// Does what follows from the last change.
    fn settle(&mut self, now: Instant) {
        if self.current.as_ref().is_some_and(|answer| answer.is_over(now)) {
            self.close(now, true);
        }
        let taken = self.flow.regulate(now, self.current.as_ref());
        self.outputs.extend(taken.map(AnswerOutput::TakeAudio));
        if let (Some(true), Some(Answer { owed_since: Some(since), .. })) = (taken, &mut self.current) {
            // What is not taken cannot be late.
            *since = now;
        }
        if let (Service::Draining { until }, None) = (&mut self.service, &self.current) {
            // The timeout comes after turn taking has learned how the answer ended.
            *until = now.min(*until);
        }
    }
}

impl Machine for Answers {
    type Input = AnswerInput;
    type Output = AnswerOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: AnswerInput) {
        match input {
            AnswerInput::Speculate(commit) => self.ask(now, &commit),
            AnswerInput::Commit { commit, recognition } => self.commit(now, &commit, recognition),
            AnswerInput::Abandon(generation) => self.abandon(generation),
            AnswerInput::Interrupt(generation) => self.interrupt(now, generation),
            AnswerInput::Pause(generation) => self.pause(now, generation),
            AnswerInput::Resume(generation) => self.resume(now, generation),
            AnswerInput::Replying => self.replying(),
            AnswerInput::Replied(event) => self.replied(now, event),
            AnswerInput::ReplyEnded => self.reply_ended(now),
            AnswerInput::ReplyFailed(error) => self.reply_failed(now, error),
            AnswerInput::Synthesised(event) => self.synthesised(now, event),
            AnswerInput::SynthesiserClosed => self.synthesiser_gone(now),
            AnswerInput::BudgetSpent => self.budget_spent(),
            AnswerInput::Playout { generation, played, state, at } => {
                self.played(generation, played, state, at);
            }
            AnswerInput::Drain => self.drain(now),
            AnswerInput::Close => self.close(now, false),
        }
        self.settle(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        let patience = self.config.responder_patience;
        let due = self.current.as_ref().and_then(|answer| answer.reply_due(patience));
        if due.is_some_and(|at| at <= now) {
            self.put(AnswerOutput::StopReading);
            let late = ReplyError::new(ReplyErrorKind::Unavailable, "the responder took too long");
            self.reply_failed(now, late);
        }
        if let Some((_, generation)) = self.voice_due().filter(|(at, _)| *at <= now) {
            self.synthesiser_late(now, generation);
        }
        self.open_with_a_sentence(now);
        self.speak(now);
        self.settle(now);
        if matches!(self.service, Service::Draining { until } if until <= now) {
            self.end(ErrorCode::Draining, "the server is shutting down");
        }
    }

    fn poll_output(&mut self) -> Option<AnswerOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let answer = self.current.as_ref();
        let drain = match self.service {
            Service::Draining { until } => Some(until),
            Service::Open | Service::Over => None,
        };
        let times = [
            answer.and_then(Answer::over_at),
            answer.and_then(Answer::opener_due),
            answer.and_then(Answer::piece_due),
            answer.and_then(|answer| answer.reply_due(self.config.responder_patience)),
            self.flow.poll_timeout(answer),
            self.voice_due().map(|(at, _)| at),
            drain,
        ];
        times.into_iter().flatten().min()
    }
}
