//! Flux sessions against the simulated provider.

use super::*;

fn open_flux(twin: &Deepgram, turns: Turns) -> Rig {
    let flux = FluxConfig { turns, ..FluxConfig::default() };
    Rig::new(&Flux::new(config(), flux, connector(twin)).unwrap())
}

impl Rig {
    async fn silence(&mut self, time: Duration) {
        for _ in 0..time.as_millis() / FRAME.as_millis() {
            self.frame(&[0; 320]).await;
        }
    }

    fn count(&self, wanted: &SttEvent) -> usize {
        self.told.iter().filter(|event| *event == wanted).count()
    }
}

const OWN: Turns = Turns::Own { timeout: Duration::from_secs(30) };

#[tokio::test(start_paused = true)]
async fn the_provider_tells_where_a_turn_begins_and_ends() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open_flux(&twin, Turns::default());
    rig.connected().await;
    rig.say("what time is it?").await;
    rig.silence(Duration::from_secs(6)).await;
    assert_eq!(rig.count(&SttEvent::StartOfTurn), 1, "{:?}", rig.told);
    assert_eq!(rig.count(&SttEvent::EndOfTurn("what time is it?".into())), 1, "{:?}", rig.told);
    assert_eq!(rig.heard(), "what time is it?");
}

#[tokio::test(start_paused = true)]
async fn a_released_button_forces_the_turn_to_end() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open_flux(&twin, OWN);
    rig.connected().await;
    rig.say("what time is it").await;
    let waited = rig.end_speech().await;
    assert!(waited < Duration::from_millis(500), "{waited:?}");
    assert_eq!(rig.count(&SttEvent::EndOfTurn("what time is it".into())), 1, "{:?}", rig.told);
}

#[tokio::test(start_paused = true)]
async fn a_turn_ends_though_its_audio_stopped() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open_flux(&twin, Turns::default());
    rig.connected().await;
    rig.say("hello there").await;
    rig.wait(Duration::from_secs(12)).await;
    assert_eq!(rig.count(&SttEvent::EndOfTurn("hello there".into())), 1, "{:?}", rig.told);
    let billed = twin.stats().billed_audio_seconds;
    rig.wait(Duration::from_secs(600)).await;
    assert_eq!(twin.stats().billed_audio_seconds, billed, "silence between turns is not sent");
}

#[tokio::test(start_paused = true)]
async fn a_mute_provider_is_replaced_within_a_turn_and_the_turn_goes_on() {
    let twin = Deepgram::new(deepgram::Config::default());
    let mut rig = open_flux(&twin, OWN);
    rig.connected().await;
    rig.say("this is where").await;
    twin.inject(Fault::Stall(When::Now));
    rig.say("the provider falls silent although the line is still open").await;
    rig.wait(Duration::from_secs(6)).await;
    rig.end_speech().await;
    assert_eq!(rig.count(&SttEvent::StartOfTurn), 1);
    assert_eq!(rig.heard(), "this is where the provider falls silent although the line is still open");
    assert_eq!(twin.stats().total_connections, 2);
}

#[tokio::test(start_paused = true)]
async fn an_early_end_is_told_and_taken_back_when_the_speaker_goes_on() {
    let twin = Deepgram::new(deepgram::Config::default());
    let turns =
        Turns::Provider { end_of_turn: 0.9, eager_end_of_turn: Some(0.3), timeout: Duration::from_secs(5) };
    let mut rig = open_flux(&twin, turns);
    rig.connected().await;
    rig.say("turn on the lamp").await;
    while !rig.told.iter().any(|event| matches!(event, SttEvent::EagerEndOfTurn(_))) {
        rig.frame(&[0; 320]).await;
    }
    rig.say("in the kitchen").await;
    rig.silence(Duration::from_secs(6)).await;
    let turns: Vec<_> = rig
        .told
        .iter()
        .filter(|event| !matches!(event, SttEvent::Transcript(_) | SttEvent::State(_) | SttEvent::Billed(_)))
        .collect();
    assert_eq!(
        turns,
        [
            &SttEvent::StartOfTurn,
            &SttEvent::EagerEndOfTurn("turn on the lamp".into()),
            &SttEvent::TurnResumed,
            &SttEvent::EagerEndOfTurn("turn on the lamp in the kitchen".into()),
            &SttEvent::EndOfTurn("turn on the lamp in the kitchen".into()),
        ]
    );
    assert_eq!(rig.heard(), "turn on the lamp in the kitchen");
}
