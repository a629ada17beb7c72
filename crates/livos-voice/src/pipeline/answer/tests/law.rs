//! What must hold of any dialogue.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Speculate,
    Commit(Origin),
    Abandon,
    Interrupt,
    Pause,
    Resume,
    Replying,
    Text(&'static str),
    Finished,
    ReplyEnded,
    ReplyFailed,
    Audio(u32),
    Word(u32, u64, &'static str),
    Truncate(u32, u64),
    Done(u32),
    Failed(u32),
    Gone,
    BudgetSpent,
    Player(u32, u64, PlayoutState),
    Drain,
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    use Event::*;
    let states = vec![PlayoutState::Started, PlayoutState::Playing, PlayoutState::Held, PlayoutState::Ended];
    let text = prop::sample::select(vec!["", "One", " two ", "Three, four five. "]);
    // How much older than the current generation.
    let age = prop_oneof![8 => Just(0u32), 1 => Just(1u32)];
    prop_oneof![
        3 => Just(Speculate),
        4 => Just(Commit(Origin::Spoken)),
        1 => Just(Commit(Origin::Typed)),
        1 => Just(Abandon),
        2 => Just(Interrupt),
        2 => Just(Pause),
        2 => Just(Resume),
        3 => Just(Replying),
        6 => text.clone().prop_map(Text),
        2 => Just(Finished),
        1 => Just(ReplyEnded),
        1 => Just(ReplyFailed),
        6 => age.clone().prop_map(Audio),
        3 => (age.clone(), 0u64..9, text).prop_map(|(age, n, text)| Word(age, n, text)),
        1 => (age.clone(), 0u64..2000).prop_map(|(age, at)| Truncate(age, at)),
        2 => age.clone().prop_map(Done),
        1 => age.clone().prop_map(Failed),
        1 => prop::sample::select(vec![Gone, BudgetSpent, Drain, Close]),
        3 => (age, 0u64..3000, prop::sample::select(states)).prop_map(|(age, played, state)| Player(age, played, state)),
    ]
}

/// The input that an event is for the current generation; none if it makes no sense now.
fn input(event: &Event, now: u64, oracle: &mut Oracle) -> Option<AnswerInput> {
    let current = oracle.given;
    let older = |age: u32| current.saturating_sub(age);
    Some(match *event {
        Event::Speculate => {
            oracle.given += 1;
            speculate(oracle.given, "Go on", now)
        }
        Event::Commit(origin) => {
            if oracle.asked.is_none() || oracle.committed == oracle.asked {
                oracle.given += 1;
            }
            let commit = commit_of(oracle.given, "Go on", now, origin);
            AnswerInput::Commit { commit, recognition: Recognition::default() }
        }
        Event::Abandon if oracle.committed != Some(current) => AnswerInput::Abandon(Generation(current)),
        Event::Abandon => return None,
        Event::Interrupt => interrupt(current),
        Event::Pause => AnswerInput::Pause(Generation(current)),
        Event::Resume => AnswerInput::Resume(Generation(current)),
        Event::Replying => Replying,
        Event::Text(words) => text(words),
        Event::Finished => finished(),
        Event::ReplyEnded => AnswerInput::ReplyEnded,
        Event::ReplyFailed => failed(),
        Event::Audio(age) => audio(older(age)),
        Event::Word(age, n, text) => word(older(age), n, text),
        Event::Truncate(age, at) => AnswerInput::Synthesised(TtsEvent::Truncate {
            generation: Generation(older(age)),
            at: Duration::from_millis(at),
        }),
        Event::Done(age) => done(older(age)),
        Event::Failed(age) => {
            let generation = Generation(older(age));
            AnswerInput::Synthesised(TtsEvent::Failed { generation, reason: "it broke".into() })
        }
        Event::Gone => AnswerInput::SynthesiserClosed,
        Event::BudgetSpent => BudgetSpent,
        Event::Player(age, played, state) => player(older(age), played, state, now),
        Event::Drain => Drain,
        Event::Close => AnswerInput::Close,
    })
}

/// What is known of a dialogue from its outputs.
#[derive(Default)]
struct Oracle {
    /// The highest generation given out.
    given: u32,
    /// The answer under way.
    asked: Option<u32>,
    committed: Option<u32>,
    started: Option<u32>,
    ended: bool,
}

impl Oracle {
    fn see(&mut self, output: &AnswerOutput) {
        match output {
            AnswerOutput::Ask(_) => {
                (self.asked, self.started) = (Some(self.given), None);
                self.committed = self.committed.filter(|committed| *committed == self.given);
            }
            AnswerOutput::CommitReply => self.committed = self.asked,
            AnswerOutput::DropReply => self.asked = None,
            AnswerOutput::Speak { generation, .. } | AnswerOutput::Finish(generation) => {
                assert_eq!(Some(generation.0), self.committed, "spoken before its commit");
            }
            AnswerOutput::Audio { generation, .. } => {
                assert_eq!(Some(generation.0), self.started, "audio before its beginning was told");
            }
            AnswerOutput::Tell(ServerMessage::SpeechStart { generation }) => {
                assert_eq!((Some(generation.0), None), (self.committed, self.started), "it began twice");
                self.started = Some(generation.0);
            }
            AnswerOutput::Tell(ServerMessage::ReplyEnd { generation, .. }) => {
                assert_eq!(Some(generation.0), self.committed, "an end of what was not told");
            }
            AnswerOutput::Heard(_) => {
                assert!(self.committed.is_some(), "heard before the commit, or twice");
                (self.asked, self.committed, self.started) = (None, None, None);
            }
            AnswerOutput::End(..) => assert!(!std::mem::replace(&mut self.ended, true), "it ended twice"),
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn any_dialogue_keeps_the_law(
        events in prop::collection::vec((0u64..3000, event()), 0..80),
        opens: bool,
    ) {
        let opener = if opens { OpenerConfig::new(["Let me see."]) } else { OpenerConfig::default() };
        let config = SessionConfig { opener, max_audio_ahead: Duration::from_millis(900), ..config() };
        let mut answers = machine(config, SampleRate::Hz24000);
        let (mut now, mut oracle) = (0, Oracle::default());
        let settle = |answers: &mut Answers, oracle: &mut Oracle| {
            let mut outputs = 0;
            while let Some(output) = answers.poll_output() {
                oracle.see(&output);
                outputs += 1;
                assert!(outputs < 100, "the drain does not end");
            }
        };
        for (wait, event) in events {
            let until = at(now + wait);
            while let Some(deadline) = answers.poll_timeout().filter(|deadline| *deadline <= until) {
                let deadline = deadline.max(at(now));
                answers.handle_timeout(deadline);
                settle(&mut answers, &mut oracle);
                prop_assert!(answers.poll_timeout().is_none_or(|next| next > deadline), "a deadline in the past");
            }
            now += wait;
            let Some(input) = input(&event, now, &mut oracle) else { continue };
            answers.handle_input(at(now), input);
            settle(&mut answers, &mut oracle);
            if answers.poll_timeout().is_none_or(|deadline| deadline > at(now)) {
                answers.handle_timeout(at(now));
                prop_assert!(answers.poll_output().is_none(), "a timeout before its time changed something");
            }
        }
        // With nothing more to come, time alone reaches a state without deadlines.
        let mut timeouts = 0;
        while let Some(deadline) = answers.poll_timeout() {
            let deadline = deadline.max(at(now));
            answers.handle_timeout(deadline);
            settle(&mut answers, &mut oracle);
            timeouts += 1;
            prop_assert!(timeouts < 100, "time alone never ends");
        }
    }
}
