//! What turn taking decides, and what the responder answers.

use std::time::Instant;

use livos_core::{
    conversation::{Channel, Inbound, Reply, ReplyError, ReplyEvent},
    drive,
};
use tower::ServiceExt;
use tower_service::Service;

use super::Live;
use crate::{
    generation::Generation,
    meter::admit_characters,
    pipeline::{
        answer::{Answer, MAX_ANSWER},
        latency::Stamps,
    },
    stt::SttCommand,
    transport::{
        AudioTransport, Outgoing,
        protocol::{ErrorCode, ServerMessage},
    },
    tts::TtsCommand,
    turn::{Commit, Origin, TurnOutput},
};

impl<S, T> Live<S, T>
where
    S: Service<Inbound, Response = Reply, Error = ReplyError> + Clone + Send + 'static,
    S::Future: Send,
    T: AudioTransport,
{
    pub(super) fn decide(&mut self, output: TurnOutput) {
        match output {
            TurnOutput::OpenGate => {
                let pre_roll = self.ears.open();
                self.give(pre_roll);
            }
            TurnOutput::CloseGate => self.ears.close(),
            TurnOutput::Finalize => {
                self.stt.asked = Some(drive::now());
                self.stt.answered = None;
                if self.stt.has_answered() {
                    self.finalized();
                } else {
                    self.stt.command(SttCommand::EndOfSpeech);
                }
            }
            TurnOutput::Speculate(commit) => self.begin(&commit),
            TurnOutput::Commit(commit) => self.commit(&commit),
            TurnOutput::Abandon(generation) => {
                self.answer.take_if(|answer| answer.generation == generation);
            }
            TurnOutput::Interrupt(generation) => {
                if self.answer.as_ref().is_some_and(|answer| answer.generation <= generation) {
                    self.close_answer(false);
                }
            }
            TurnOutput::Pause(generation) => self.hold(generation, true),
            TurnOutput::Resume(generation) => self.hold(generation, false),
            TurnOutput::State(state) => self.tell(ServerMessage::State { state }),
        }
    }

    pub(super) fn hold(&mut self, generation: Generation, held: bool) {
        let now = drive::now();
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.generation == generation) else {
            return;
        };
        answer.held = held;
        if held {
            answer.playout.pause(now);
        } else {
            answer.playout.resume(now);
        }
        if answer.started {
            self.tell(match held {
                true => ServerMessage::Pause { generation },
                false => ServerMessage::Resume { generation },
            });
        }
    }

    /// Calls the responder.
    pub(super) fn begin(&mut self, commit: &Commit) {
        let inbound = Inbound::new(self.conversation.clone(), Channel::Voice, commit.text.clone());
        let inbound = inbound.from_speaker(self.config.speaker);
        let call = Box::pin(self.responder.clone().oneshot(inbound));
        let stamps = Stamps::new(commit.end_of_speech);
        let now = drive::now();
        let mut answer = Answer::new(now, commit.generation, call, stamps, self.reports, self.config.chunk);
        answer.stamps.called = Some(now);
        answer.mute = !self.tts.usable;
        self.answer = Some(answer);
    }

    pub(super) fn commit(&mut self, commit: &Commit) {
        self.tell(ServerMessage::Transcript { text: commit.text.clone(), is_final: true });
        let now = drive::now();
        if self.answer.as_ref().is_none_or(|answer| answer.generation != commit.generation) {
            self.begin(commit);
        }
        let typed = commit.origin == Origin::Typed;
        let (asked, answered) = (self.stt.asked, self.stt.answered);
        let Some(answer) = &mut self.answer else { return };
        answer.stamps.end_of_speech = commit.end_of_speech;
        answer.stamps.committed = Some(now);
        if !typed {
            // Without an answer in time, all of the wait since the question was for the recogniser.
            answer.stamps.asked = asked.filter(|asked| *asked >= commit.end_of_speech);
            answer.stamps.answered = answer.stamps.asked.and(answered.or(Some(now)));
        }
        answer.shown = (typed || answer.mute).then_some(0);
        // Who typed sees that something comes.
        let openers = self.openers.as_ref().filter(|_| !typed);
        answer.opener_at = openers.map(|openers| commit.end_of_speech + openers.after());
        answer.commit();
        self.speak();
    }

    /// Says something before the answer, where the answer is not there in time.
    pub(super) fn open_with_a_sentence(&mut self, now: Instant) {
        let answer = self.answer.as_mut().filter(|answer| answer.opener_due().is_some_and(|at| at <= now));
        let (Some(answer), Some(openers)) = (answer, &mut self.openers) else { return };
        answer.open_with(now, openers.take());
        metrics::counter!("livos_voice_openers_total").increment(1);
    }

    // What the responder answers.

    pub(super) fn replied(&mut self, event: Option<Result<ReplyEvent, ReplyError>>) {
        let Some(answer) = &mut self.answer else { return };
        answer.asked = drive::now();
        match event {
            Some(Ok(ReplyEvent::Text(text))) => {
                answer.stamps.first_text.get_or_insert_with(drive::now);
                answer.text.push_str(&text);
                if answer.text.len() > MAX_ANSWER {
                    answer.end();
                }
            }
            Some(Ok(ReplyEvent::Finished(_))) => answer.end(),
            Some(Ok(_)) | None => {}
            // Nothing was promised yet: a commit asks again.
            Some(Err(_)) if !answer.is_committed() => self.answer = None,
            Some(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the responder failed");
                if answer.said().trim().is_empty() {
                    answer.text.push_str(&self.config.apology);
                }
                self.tell(ErrorCode::ResponderFailed.message(error.to_string()));
            }
        }
        self.speak();
    }

    /// Hands on what the answer has to say.
    pub(super) fn speak(&mut self) {
        let Some(answer) = self.answer.as_mut().filter(|answer| answer.is_committed()) else { return };
        let generation = answer.generation;
        if let Some(shown) = answer.shown.filter(|shown| *shown < answer.text.len()) {
            let text = answer.text[shown..].to_owned();
            answer.shown = Some(answer.text.len());
            self.transport.send(Outgoing::Message(ServerMessage::Reply { generation, text }));
        }
        if answer.mute || answer.finished {
            return;
        }
        let (now, ended) = (drive::now(), !answer.is_reading());
        if answer.fed < answer.text.len() {
            answer.chunker.push(now, &answer.text[answer.fed..]);
            answer.fed = answer.text.len();
        }
        let (mut refused, begun) = (false, answer.begun);
        while let Some(text) = answer.next_piece(now) {
            answer.stamps.first_clause.get_or_insert(now);
            refused |= self.meter.as_ref().is_some_and(|meter| admit_characters(meter, &text).is_err());
            if refused {
                break;
            }
            self.tts.command(TtsCommand::Speak { generation, text });
        }
        if answer.begun && !begun {
            let waited = now.saturating_duration_since(answer.stamps.end_of_speech);
            metrics::histogram!("livos_voice_answer_seconds").record(waited.as_secs_f64());
        }
        if ended {
            answer.finished = true;
            self.tts.command(TtsCommand::Finish(generation));
        }
        if refused {
            self.fail(ErrorCode::BudgetExhausted, "the day's budget for the voice is spent");
        }
    }
}
