//! Who holds the floor: the user by the button or by voice, or the agent.
//!
//! Two things are tracked at once. The *user's turn* exists from the press of the button
//! or the first speech until it is committed or found empty. The *agent's turn* exists from the
//! commit until its last sample was played. Where both exist, the user's turn is either *proven*,
//! and then the agent's ends, or a sound on trial (see [`super::interruption`]) while the agent is
//! held.
//!
//! A user who goes on before the answer is audible has not finished: the answer is dropped and what
//! follows is joined to what came before, so that "what is the weather" and "in Paris" are one
//! question.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use livos_core::machine::Machine;

use super::{
    endpointing::{Completeness, completeness},
    event::{Commit, Mode, Origin, TurnConfig, TurnInput, TurnOutput, TurnState},
    interruption::{self, Evidence, Verdict},
    said::{is_new, same_words},
    user::{Due, EndsBy, Floor, Hearing, Phase, UserTurn},
};
use crate::{generation::Generation, stt::Transcript, vad::VadState};

/// Decides who holds the floor: the user, the agent, or nobody.
#[derive(Debug)]
pub struct TurnTaking {
    config: TurnConfig,
    mode: Mode,
    vad: VadState,
    gate_open: bool,
    recognising: bool,
    user: Option<UserTurn>,
    agent: Option<AgentTurn>,
    /// The highest generation assigned so far.
    last: Generation,
    /// A turn that the recogniser did not answer for: when its speech ended, and until when its
    /// words may still come.
    unheard: Option<(Instant, Instant)>,
    /// Audio up to here was handed over; what is still said about it comes too late.
    covered: Duration,
    shown: TurnState,
    outputs: VecDeque<TurnOutput>,
}

#[derive(Debug)]
struct AgentTurn {
    generation: Generation,
    audible: bool,
    /// The spoken turn it answers. A typed message is whole, and nothing is joined to it.
    question: Option<String>,
    /// When playout was held, while it is.
    held: Option<Instant>,
}

impl TurnTaking {
    /// Nobody holds the floor, and the gate is closed.
    pub fn new(config: TurnConfig, mode: Mode) -> Self {
        Self {
            config,
            mode,
            vad: VadState::Quiet,
            gate_open: false,
            recognising: true,
            user: None,
            agent: None,
            last: Generation(0),
            unheard: None,
            covered: Duration::ZERO,
            shown: TurnState::Idle,
            outputs: VecDeque::new(),
        }
    }

    /// How the user takes the floor.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether audio may pass to the recogniser.
    pub fn gate_open(&self) -> bool {
        self.gate_open
    }

    /// What the user has said in the turn under way, for display; `None` while there are no words.
    pub fn said(&self) -> Option<String> {
        self.user.as_ref().map(|user| user.said.text()).filter(|text| !text.is_empty())
    }

    fn change_mode(&mut self, now: Instant, mode: Mode) {
        if self.mode == mode {
            return;
        }
        // What was said so far counts, as if the button had gone up.
        self.end_speech(now, now);
        if self.user.is_none() {
            self.release_agent();
        }
        self.mode = mode;
        self.vad = VadState::Quiet;
    }

    fn press(&mut self, now: Instant) {
        if self.mode != Mode::PushToTalk {
            return;
        }
        self.resume_or_begin(now, EndsBy::Button);
        self.take_floor();
    }

    fn release(&mut self, now: Instant) {
        if self.user.as_ref().is_some_and(|user| user.ends_by == EndsBy::Button) {
            self.end_speech(now, now);
        }
    }

    fn hear_activity(&mut self, now: Instant, state: VadState, last_voiced: Option<Instant>) {
        if self.mode != Mode::OpenMicrophone {
            return;
        }
        self.vad = state;
        // A detector whose clock runs ahead must not push the end of speech into the future.
        let voiced = last_voiced.unwrap_or(now).min(now);
        match state {
            VadState::Starting => self.hold_agent(now),
            VadState::Speaking => {
                self.resume_or_begin(now, EndsBy::Silence);
                self.hold_agent(now);
            }
            VadState::Stopping => {
                if let Some(UserTurn { phase: Phase::Active { stopping, .. }, .. }) = &mut self.user {
                    *stopping = Some(voiced);
                }
            }
            VadState::Quiet => {
                self.end_speech(now, voiced);
                if self.user.is_none() {
                    self.release_agent();
                }
            }
        }
    }

    /// The user speaks: begins a turn, or goes on with the one that was about to be committed.
    fn resume_or_begin(&mut self, now: Instant, ends_by: EndsBy) {
        let hearing = if self.recognising { Hearing::Undisturbed } else { Hearing::Disturbed };
        let floor = if self.agent.is_none() { Floor::Proven } else { Floor::OnTrial };
        let user = self.user.get_or_insert_with(|| UserTurn::new(now, ends_by, floor, hearing));
        user.activate(now, ends_by);
        // Words that come late now belong to this turn.
        self.unheard = None;
        self.abandon_speculation();
        self.set_gate(true);
    }

    fn end_speech(&mut self, now: Instant, end_of_speech: Instant) {
        let Some(user) = &mut self.user else { return self.set_gate(false) };
        if user.is_active() {
            user.phase = Phase::Ended { end_of_speech, asked: now, answered: false };
            self.set_gate(false);
            self.outputs.push_back(TurnOutput::Finalize);
        }
    }

    fn hear(&mut self, now: Instant, transcript: &Transcript) {
        let covered = self.covered;
        if transcript.end <= covered && !is_new(transcript.start, transcript.end, covered) {
            return;
        }
        if self.user.is_none() && !transcript.text.trim().is_empty() {
            self.begin_late(now);
        }
        // Words without a turn are late: what they say was already handed over or dismissed.
        if let Some(user) = &mut self.user {
            user.said.hear(transcript, covered);
        }
    }

    /// The recogniser answers for a turn that was given up.
    fn begin_late(&mut self, now: Instant) {
        let unheard = self.unheard.take_if(|_| self.agent.is_none());
        self.user = unheard
            .filter(|(_, until)| now <= *until)
            .map(|(end_of_speech, _)| UserTurn::late(now, end_of_speech));
    }

    /// The recogniser has answered. The responder is asked at once, while the silence that makes
    /// the end sure is still waited for.
    fn answered(&mut self, now: Instant) {
        let Some(user) = &mut self.user else { return };
        let Phase::Ended { answered, .. } = &mut user.phase else { return };
        *answered = true;
        // A released button is sure by itself. Of a sentence that must go on, the last words are
        // still to come.
        let pointless =
            user.ends_by == EndsBy::Button || completeness(&user.said.text()) == Completeness::Unfinished;
        if self.config.speculate && user.is_proven() && user.said.has_words() && !pointless {
            self.speculate(now);
        }
    }

    fn eager_end(&mut self, now: Instant, whole: &str) {
        let Some(user) = &mut self.user else { return };
        user.said.settle(whole);
        if user.said.has_words() {
            self.take_floor();
        }
        self.speculate(now);
    }

    fn speculate(&mut self, now: Instant) {
        let Some(user) = &self.user else { return };
        let held_down = user.ends_by == EndsBy::Button && user.is_active();
        let text = user.said.text();
        let known = user.speculation.as_ref().is_some_and(|earlier| same_words(&earlier.text, &text));
        if held_down || known || text.is_empty() {
            return;
        }
        let end_of_speech = user.end_of_speech(now);
        let allowed = user.speculations < self.config.max_speculations;
        self.abandon_speculation();
        if !allowed {
            return;
        }
        self.last = self.last.next();
        let commit = Commit { generation: self.last, text, end_of_speech, origin: Origin::Spoken };
        if let Some(user) = &mut self.user {
            user.speculations += 1;
            user.speculation = Some(commit.clone());
        }
        self.outputs.push_back(TurnOutput::Speculate(commit));
    }

    fn provider_end(&mut self, now: Instant, whole: &str) {
        let Some(user) = &mut self.user else { return };
        user.said.settle(whole);
        match user.phase {
            // The button is still down: the provider heard a pause, not the end.
            Phase::Active { .. } if user.ends_by == EndsBy::Button => user.said.keep(),
            _ => {
                if user.said.has_words() {
                    self.take_floor();
                }
                self.commit_spoken(now);
                if self.mode == Mode::OpenMicrophone && self.vad == VadState::Speaking {
                    // There is still sound: it may be the user going on, and then it must not be
                    // lost.
                    self.resume_or_begin(now, EndsBy::Silence);
                    self.hold_agent(now);
                }
            }
        }
    }

    fn typed(&mut self, now: Instant, text: String) {
        self.stop();
        self.drop_user();
        if !text.trim().is_empty() {
            self.hand_over(text, now, Origin::Typed, None);
        }
    }

    /// The user wants silence: no answer, neither the one that sounds nor the one to come.
    fn stop(&mut self) {
        self.unheard = None;
        self.abandon_speculation();
        if let Some(agent) = self.agent.take() {
            self.outputs.push_back(TurnOutput::Interrupt(agent.generation));
        }
        match &mut self.user {
            Some(user) if user.is_active() => user.floor = Floor::Proven,
            _ => self.drop_user(),
        }
    }

    fn playout_started(&mut self, generation: Generation) {
        if let Some(agent) = self.agent.as_mut().filter(|agent| agent.generation == generation) {
            agent.audible = true;
        }
    }

    fn playout_ended(&mut self, generation: Generation) {
        if self.agent.as_ref().is_some_and(|agent| agent.generation == generation) {
            self.agent = None;
            if let Some(user) = &mut self.user {
                user.floor = Floor::Proven;
            }
        }
    }

    /// The user has the floor from now on. An answer that was not yet audible is asked again, with
    /// what follows joined.
    fn take_floor(&mut self) {
        let Some(user) = &mut self.user else { return };
        user.floor = Floor::Proven;
        if let Some(agent) = self.agent.take() {
            self.outputs.push_back(TurnOutput::Interrupt(agent.generation));
            if let (false, Some(question)) = (agent.audible, agent.question) {
                user.said.precede(&question);
            }
        }
    }

    fn hold_agent(&mut self, now: Instant) {
        if let Some(agent) = self.agent.as_mut().filter(|agent| agent.held.is_none()) {
            agent.held = Some(now);
            self.outputs.push_back(TurnOutput::Pause(agent.generation));
        }
    }

    fn release_agent(&mut self) {
        if let Some(agent) = self.agent.as_mut()
            && agent.held.take().is_some()
        {
            self.outputs.push_back(TurnOutput::Resume(agent.generation));
        }
    }

    fn commit_spoken(&mut self, now: Instant) {
        let Some(user) = self.user.take() else { return };
        self.set_gate(false);
        self.covered = self.covered.max(user.said.until());
        let text = user.said.text();
        let end_of_speech = user.end_of_speech(now);
        if text.is_empty() {
            if user.is_unanswered() {
                self.unheard = Some((end_of_speech, now + self.config.unheard_patience));
                self.outputs.push_back(TurnOutput::Unheard);
            }
            self.abandon(user.speculation);
            return self.release_agent();
        }
        self.hand_over(text, end_of_speech, Origin::Spoken, user.speculation);
    }

    fn hand_over(
        &mut self,
        text: String,
        end_of_speech: Instant,
        origin: Origin,
        speculation: Option<Commit>,
    ) {
        let generation = match speculation {
            Some(earlier) if same_words(&earlier.text, &text) => earlier.generation,
            other => {
                self.abandon(other);
                self.last = self.last.next();
                self.last
            }
        };
        let question = (origin == Origin::Spoken).then(|| text.clone());
        self.agent = Some(AgentTurn { generation, audible: false, question, held: None });
        self.outputs.push_back(TurnOutput::Commit(Commit { generation, text, end_of_speech, origin }));
    }

    fn abandon_speculation(&mut self) {
        let wrong = self.user.as_mut().and_then(|user| user.speculation.take());
        self.abandon(wrong);
    }

    fn abandon(&mut self, speculation: Option<Commit>) {
        self.outputs.extend(speculation.map(|wrong| TurnOutput::Abandon(wrong.generation)));
    }

    fn drop_user(&mut self) {
        self.abandon_speculation();
        if let Some(user) = self.user.take() {
            self.covered = self.covered.max(user.said.until());
        }
        self.set_gate(false);
    }

    fn set_gate(&mut self, open: bool) {
        if self.gate_open != open {
            self.gate_open = open;
            self.outputs.push_back(if open { TurnOutput::OpenGate } else { TurnOutput::CloseGate });
        }
    }

    /// The judgement on the sound on trial, if there is one.
    fn verdict(&self, now: Instant) -> Option<Verdict> {
        let held_since = self.agent.as_ref()?.held?;
        let evidence = match &self.user {
            Some(user) if user.is_proven() => return None,
            Some(user) => user.evidence(held_since),
            None => Evidence { held_since, speaking_since: None, words: false, answered: false },
        };
        Some(interruption::judge(&self.config, now, evidence))
    }

    fn user_deadline(&self) -> Option<(Instant, Due)> {
        self.user.as_ref()?.deadline(&self.config)
    }

    /// Does what is due at `now`.
    fn advance(&mut self, now: Instant) {
        match self.verdict(now) {
            Some(Verdict::Interruption) => self.take_floor(),
            Some(Verdict::FalseInterruption) => {
                self.drop_user();
                self.release_agent();
            }
            Some(Verdict::Until(_)) | None => {}
        }
        while let Some((_, due)) = self.user_deadline().filter(|(at, _)| *at <= now) {
            match due {
                Due::EndSpeech(last_voiced) => self.end_speech(now, last_voiced.unwrap_or(now)),
                Due::Commit => self.commit_spoken(now),
            }
        }
        self.show();
    }

    fn show(&mut self) {
        let state = match (&self.user, &self.agent) {
            (Some(user), _) if user.is_proven() => TurnState::Listening,
            (_, Some(agent)) if agent.audible => TurnState::Speaking,
            (_, Some(_)) => TurnState::Thinking,
            _ => TurnState::Idle,
        };
        if self.shown != state {
            self.shown = state;
            self.outputs.push_back(TurnOutput::State(state));
        }
    }
}

impl Machine for TurnTaking {
    type Input = TurnInput;
    type Output = TurnOutput;
    type Time = Instant;

    fn handle_input(&mut self, now: Instant, input: TurnInput) {
        match input {
            TurnInput::Mode(mode) => self.change_mode(now, mode),
            TurnInput::Pressed => self.press(now),
            TurnInput::Released => self.release(now),
            TurnInput::Vad { state, last_voiced } => self.hear_activity(now, state, last_voiced),
            TurnInput::Transcript(transcript) => self.hear(now, &transcript),
            TurnInput::Finalized => self.answered(now),
            TurnInput::Recognising(connected) => {
                self.recognising = connected;
                if let Some(user) = self.user.as_mut().filter(|_| !connected) {
                    user.hearing = Hearing::Disturbed;
                }
            }
            TurnInput::ProviderStartOfTurn => self.take_floor(),
            TurnInput::ProviderEagerEndOfTurn(whole) => self.eager_end(now, &whole),
            TurnInput::ProviderTurnResumed => self.abandon_speculation(),
            TurnInput::ProviderEndOfTurn(whole) => self.provider_end(now, &whole),
            TurnInput::Typed(text) => self.typed(now, text),
            TurnInput::PlayoutStarted(generation) => self.playout_started(generation),
            TurnInput::PlayoutEnded(generation) => self.playout_ended(generation),
            TurnInput::Stop => self.stop(),
        }
        self.advance(now);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    fn poll_output(&mut self) -> Option<TurnOutput> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        // A verdict that was due is taken by now, so the earliest time on trial answers with the
        // deadline that is left.
        let held_since = self.agent.as_ref().and_then(|agent| agent.held);
        let trial = held_since.and_then(|since| self.verdict(since)).and_then(|verdict| match verdict {
            Verdict::Until(at) => Some(at),
            Verdict::Interruption | Verdict::FalseInterruption => None,
        });
        let user = self.user_deadline().map(|(at, _)| at);
        trial.into_iter().chain(user).min()
    }
}
