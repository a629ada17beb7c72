//! A model whose answers are reserved before they are asked for, and counted when they are over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt, stream};
use livos_core::{
    conversation::{ReplyError, TokenUsage},
    usage::{Amounts, Hold, Metric, ModelPrice, Tally, Usage, UsageError},
    user::UserId,
};

use super::{Model, ModelEvent, ModelRequest, ModelStream};
use crate::tokens;

/// What is reserved for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeteredConfig {
    /// The most tokens that the model may write, as it is told itself.
    pub max_output: u64,
    /// What is sent with every request besides the messages, in estimated tokens: what the agent is
    /// told about itself.
    pub overhead: u64,
    /// What it costs. Without it money is not counted.
    pub price: Option<ModelPrice>,
}

livos_core::with_fields!(MeteredConfig {
    with_overhead => overhead: u64,
    with_price => price: Option<ModelPrice>,
});

impl MeteredConfig {
    /// For a model that may write so much, is told nothing about itself, and costs nothing.
    pub fn new(max_output: u64) -> Self {
        Self { max_output, overhead: 0, price: None }
    }
}

/// Reservations that are kept ready. 4: as many conversations may go on at one time without waiting
/// for the store.
const READY: usize = 4;
/// Tokens that a message takes in addition to its text.
const PER_MESSAGE: u64 = 8;

/// Counts the answers of a model, and asks for none that a limit does not allow.
///
/// For every answer as much is reserved as it can take at the most: what is sent, estimated half as
/// high again, at the dearest price, and the longest answer. What the provider reports is counted
/// when the answer is over, and the rest given back. An answer that is cut off never gets its last
/// figures: what it wrote is estimated then, and marked as an estimate. One that fails before
/// anything came is not counted, because no provider bills it.
///
/// While an answer comes in, the reservation of the next one is made, a little larger, so that a
/// listener need not wait for the store; only the first answer does, one that is much larger, and
/// one after some minutes of silence.
///
/// Every call of the model is one *turn*: an answer that is asked for again after a failure, and
/// one that was asked for too early and is not wanted, count like any other.
#[derive(Debug)]
pub struct Metered<M> {
    model: Arc<M>,
    usage: Usage,
    config: MeteredConfig,
    ready: Arc<Mutex<Vec<Hold>>>,
}

impl<M> Clone for Metered<M> {
    fn clone(&self) -> Self {
        Self {
            model: Arc::clone(&self.model),
            usage: self.usage.clone(),
            config: self.config,
            ready: Arc::clone(&self.ready),
        }
    }
}

impl<M: Model> Metered<M> {
    /// Counts the answers of `model` in `usage`, whose bookkeeper must be running.
    pub fn new(model: M, usage: Usage, config: MeteredConfig) -> Self {
        Self { model: Arc::new(model), usage, config, ready: Arc::default() }
    }

    /// Reserves, and asks once that is done.
    async fn ask(&self, request: ModelRequest) -> Result<Counted<M>, ReplyError> {
        let sent = self.config.overhead + self.config.estimate(&request);
        let hold = self.hold(&request.payer, self.config.most(sent)).await;
        let hold = hold.map_err(|error| error.into_reply_error(self.usage.now()))?;
        let said = request.messages.last().map_or(0, |message| message.text.chars().count() as u64);
        let bill = Bill {
            hold: Some(hold),
            config: self.config,
            sent,
            characters: said,
            reported: None,
            written: 0,
            failed: false,
        };
        let user = request.payer.clone();
        Ok(Counted { stream: self.model.answer(request), bill, next: Some((self.clone(), user)) })
    }

    /// One that is ready, or a new one.
    async fn hold(&self, user: &UserId, amounts: Amounts) -> Result<Hold, UsageError> {
        let ready = {
            let mut ready = lock(&self.ready);
            let place = ready.iter().position(|hold| hold.suits(user, &amounts));
            place.map(|place| ready.swap_remove(place))
        };
        match ready {
            Some(hold) => Ok(hold),
            None => Ok(self.usage.reserve(user, amounts).await?.0),
        }
    }

    /// Has the reservation of an answer to twice as much made, where there is room for it. Old ones
    /// are given back.
    fn make_ready(&self, user: &UserId, sent: u64) {
        let mut ready = lock(&self.ready);
        ready.retain(|hold| hold.suits(user, &self.config.most(sent)));
        if ready.len() < READY {
            let place = Arc::downgrade(&self.ready);
            let keep = move |hold: Hold| {
                let Some(ready) = place.upgrade() else { return };
                let mut ready = lock(&ready);
                if ready.len() < READY {
                    ready.push(hold);
                }
            };
            self.usage.reserve_ahead(user.clone(), self.config.most(sent.saturating_mul(2)), keep);
        }
    }
}

fn lock(ready: &Mutex<Vec<Hold>>) -> MutexGuard<'_, Vec<Hold>> {
    ready.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<M: Model> Model for Metered<M> {
    fn answer(&self, request: ModelRequest) -> ModelStream {
        #[allow(clippy::large_enum_variant)] // One lives in each stream's own box.
        enum Answer<M> {
            Asking(Metered<M>, ModelRequest),
            Reading(Counted<M>),
            Over,
        }
        let start = Answer::Asking(self.clone(), request);
        Box::pin(stream::unfold(start, |mut answer| async move {
            loop {
                answer = match answer {
                    Answer::Asking(model, request) => match model.ask(request).await {
                        Ok(counted) => Answer::Reading(counted),
                        Err(error) => return Some((Err(error), Answer::Over)),
                    },
                    Answer::Reading(mut counted) => {
                        let event = counted.next().await?;
                        return Some((event, Answer::Reading(counted)));
                    }
                    Answer::Over => return None,
                };
            }
        }))
    }
}

impl MeteredConfig {
    fn estimate(&self, request: &ModelRequest) -> u64 {
        request.messages.iter().map(|message| tokens::estimate(&message.text) + PER_MESSAGE).sum()
    }

    /// The most that an answer to so many tokens can take.
    fn most(&self, sent: u64) -> Amounts {
        let input = self.price.map_or(Metric::InputTokens, |price| price.dearest_input());
        let amounts = Amounts::of(Metric::Turns, 1)
            .with(input, sent.saturating_add(sent / 2))
            .with(Metric::OutputTokens, self.max_output);
        self.priced(amounts)
    }

    fn priced(&self, amounts: Amounts) -> Amounts {
        amounts.with(Metric::MicroDollars, self.price.map_or(0, |price| price.cost(&amounts)))
    }
}

/// An answer under way.
struct Counted<M> {
    stream: ModelStream,
    bill: Bill,
    /// Whose next answer is to be expected, until this one has begun.
    next: Option<(Metered<M>, UserId)>,
}

impl<M: Model> Counted<M> {
    async fn next(&mut self) -> Option<Result<ModelEvent, ReplyError>> {
        let event = self.stream.next().await?;
        self.bill.note(&event);
        if let (Ok(_), Some((model, user))) = (&event, self.next.take()) {
            model.make_ready(&user, self.bill.sent);
        }
        Some(event)
    }
}

/// What an answer has cost so far, booked when it is dropped: at its end, or where it was cut off.
struct Bill {
    hold: Option<Hold>,
    config: MeteredConfig,
    /// What was sent, in estimated tokens.
    sent: u64,
    characters: u64,
    /// What the provider said last.
    reported: Option<TokenUsage>,
    /// What was written since, in estimated tokens.
    written: u64,
    failed: bool,
}

impl Bill {
    fn note(&mut self, event: &Result<ModelEvent, ReplyError>) {
        match event {
            Ok(ModelEvent::Text(text)) => {
                self.characters += text.chars().count() as u64;
                self.written += tokens::estimate(text);
            }
            Ok(ModelEvent::Usage(usage)) => self.reported = Some(*usage),
            Ok(ModelEvent::Finished(_)) => {}
            Err(_) => self.failed = true,
        }
    }

    fn tally(&self) -> Tally {
        let counted = Amounts::of(Metric::Turns, 1).with(Metric::Characters, self.characters);
        let (tokens, is_estimated) = match self.reported {
            Some(usage) if !usage.estimated => return Tally::reported(self.whole(counted, &usage)),
            Some(usage) => (usage, Amounts::default()),
            // It was asked and has said nothing, or is of a kind that never says.
            None if self.failed && self.written == 0 => return Tally::default(),
            None => {
                let usage = TokenUsage { input: self.sent, ..TokenUsage::default() };
                (usage, Amounts::of(Metric::InputTokens, self.sent))
            }
        };
        let tokens = TokenUsage { output: tokens.output.max(self.written), ..tokens };
        let counted = self.whole(counted, &tokens);
        let estimated = self.config.priced(is_estimated.with(Metric::OutputTokens, tokens.output));
        Tally { counted, estimated }
    }

    fn whole(&self, counted: Amounts, usage: &TokenUsage) -> Amounts {
        let tokens = Amounts::of_tokens(usage);
        counted.plus(&self.config.priced(tokens))
    }
}

impl Drop for Bill {
    fn drop(&mut self) {
        if let Some(hold) = self.hold.take() {
            hold.book(self.tally());
        }
    }
}

#[cfg(test)]
mod tests {
    use livos_core::{
        budget::{Limit, Period, Unit},
        conversation::{Channel, Finish, ReplyErrorKind},
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
        usage::{Bookkeeper, Limits, Prices, UsageConfig},
        user::UserId,
    };

    use super::*;
    use crate::{
        message::Message,
        testing::{Script, ScriptedModel},
    };

    struct Rig {
        model: Metered<ScriptedModel>,
        usage: Usage,
        books: Bookkeeper,
    }

    fn rig(limits: Limits, scripts: Vec<Script>) -> Rig {
        let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap());
        let mut config = UsageConfig::default();
        config.limits = limits;
        let (usage, books) = Usage::new(Arc::new(store), config);
        let mut config = MeteredConfig::new(100);
        config.price = Prices::default().model("claude-haiku-4-5");
        let scripted = ScriptedModel::new(scripts).staying_open();
        Rig { model: Metered::new(scripted, usage.clone(), config), usage, books }
    }

    impl Rig {
        /// What is set aside, without the reservations that are kept ready.
        async fn held(&mut self) -> Amounts {
            self.books.catch_up().await;
            lock(&self.model.ready).clear();
            self.books.catch_up().await;
            self.usage.report(&UserId::owner()).await.unwrap().held
        }

        fn ask(&self) -> ModelStream {
            self.model.answer(ModelRequest::new(
                vec![Message::user("count to three")],
                Channel::Chat,
                UserId::owner(),
            ))
        }

        async fn tally(&mut self) -> Tally {
            let held = self.held().await;
            assert!(held.is_zero(), "{held:?}");
            self.usage.report(&UserId::owner()).await.unwrap().periods[0].tally
        }
    }

    fn text(text: &str) -> Result<ModelEvent, ReplyError> {
        Ok(ModelEvent::Text(text.into()))
    }

    fn usage(input: u64, output: u64, estimated: bool) -> Result<ModelEvent, ReplyError> {
        Ok(ModelEvent::Usage(TokenUsage { input, output, estimated, ..TokenUsage::default() }))
    }

    fn failure(kind: ReplyErrorKind) -> Result<ModelEvent, ReplyError> {
        Err(ReplyError::new(kind, "deliberate, in a test"))
    }

    fn counted(input: u64, output: u64, characters: u64) -> Amounts {
        Amounts::of(Metric::Turns, 1)
            .with(Metric::InputTokens, input)
            .with(Metric::OutputTokens, output)
            .with(Metric::Characters, characters)
            .with(Metric::MicroDollars, input + 5 * output)
    }

    #[tokio::test]
    async fn an_answer_is_counted_as_its_provider_reports_it() {
        let finished = Ok(ModelEvent::Finished(Finish::Complete));
        let script = vec![usage(40, 1, true), text("One, two, three."), usage(40, 7, false), finished];
        let mut rig = rig(Limits::default(), vec![script]);
        let mut answer = rig.ask();
        let held = rig.usage.report(&UserId::owner()).await.unwrap().held;
        assert!(held.is_zero(), "nothing is reserved before it is asked for");
        answer.next().await.unwrap().unwrap();
        let held = rig.usage.report(&UserId::owner()).await.unwrap().held;
        assert_eq!((held.get(Metric::OutputTokens), held.get(Metric::Turns)), (100, 1));
        let rest: Vec<_> = answer.by_ref().take(3).collect().await;
        assert!(rest.iter().all(Result::is_ok));
        drop(answer);
        assert_eq!(rig.tally().await, Tally::reported(counted(40, 7, 14 + 16)));
    }

    #[tokio::test]
    async fn the_next_answer_finds_its_reservation_ready_and_a_larger_one_makes_its_own() {
        let script = || vec![usage(40, 7, false), text("One.")];
        let mut rig = rig(Limits::default(), vec![script(), script(), script()]);
        let turns =
            async |rig: &Rig| rig.usage.report(&UserId::owner()).await.unwrap().held.get(Metric::Turns);
        let mut first = rig.ask();
        first.next().await.unwrap().unwrap();
        assert_eq!(turns(&rig).await, 1);
        rig.books.catch_up().await;
        assert_eq!(turns(&rig).await, 2, "its own and the next one's");
        let mut second = rig.ask();
        second.next().await.unwrap().unwrap();
        assert_eq!(turns(&rig).await, 2, "nothing was reserved for it anew");
        let long = vec![Message::user("word ".repeat(500))];
        let mut long = rig.model.answer(ModelRequest::new(long, Channel::Chat, UserId::owner()));
        long.next().await.unwrap().unwrap();
        assert_eq!(turns(&rig).await, 3);
        drop((first, second, long));
        assert_eq!(rig.tally().await.counted.get(Metric::Turns), 3);
        let Rig { model, usage, books } = rig;
        drop((model, usage));
        books.run().await;
    }

    #[tokio::test]
    async fn an_answer_that_is_cut_off_is_estimated_and_says_so() {
        let written = "word ".repeat(88);
        let cut = vec![usage(40, 1, true), text(&written)];
        let mut rig = rig(Limits::default(), vec![cut]);
        let mut answer = rig.ask();
        for _ in 0..2 {
            answer.next().await.unwrap().unwrap();
        }
        drop(answer);
        let estimated = Amounts::of(Metric::OutputTokens, 100).with(Metric::MicroDollars, 500);
        assert_eq!(rig.tally().await, Tally { counted: counted(40, 100, 14 + 440), estimated });
    }

    #[tokio::test]
    async fn an_answer_that_nobody_waited_for_was_asked_all_the_same() {
        let mut rig = rig(Limits::default(), vec![vec![]]);
        let mut answer = rig.ask();
        tokio::select! {
            _ = answer.next() => unreachable!("it says nothing"),
            () = async { while rig.usage.report(&UserId::owner()).await.unwrap().held.is_zero() {} } => {}
        }
        drop(answer);
        let tally = rig.tally().await;
        let sent = tokens::estimate("count to three") + PER_MESSAGE;
        assert_eq!(tally.counted, counted(sent, 0, 14));
        assert_eq!(tally.estimated.get(Metric::InputTokens), sent);
    }

    #[tokio::test]
    async fn what_fails_before_anything_came_costs_nothing_and_in_the_middle_what_came() {
        let early = vec![failure(ReplyErrorKind::Unavailable)];
        let late = vec![usage(40, 3, true), text("One"), failure(ReplyErrorKind::Unavailable)];
        let mut rig = rig(Limits::default(), vec![early, late]);
        assert!(rig.ask().next().await.unwrap().is_err());
        assert_eq!(rig.tally().await, Tally::default());
        let events: Vec<_> = rig.ask().take(3).collect().await;
        assert!(events[2].is_err());
        let tally = rig.tally().await;
        assert_eq!(tally.counted, counted(40, 3, 14 + 3));
        assert_eq!(tally.estimated, Amounts::of(Metric::OutputTokens, 3).with(Metric::MicroDollars, 15));
    }

    #[tokio::test]
    async fn a_model_is_not_asked_for_what_the_budget_does_not_hold() {
        let limits = Limits::default().with(Period::Day, Unit::MicroDollars, Limit::stop_at(900));
        let script = || vec![usage(100, 60, false), Ok(ModelEvent::Finished(Finish::Complete))];
        let mut rig = rig(limits, vec![script(), script(), script()]);
        for turn in 1..=4u64 {
            let events: Vec<_> = rig.ask().take(2).collect().await;
            let spent = rig.tally().await.counted.get(Metric::MicroDollars);
            match turn {
                // Each costs 400 micro-dollars, and may cost 500 and some.
                1 => assert!(events.iter().all(Result::is_ok) && spent == 400),
                _ => {
                    let refused = events[0].as_ref().unwrap_err();
                    assert_eq!((refused.kind(), spent), (ReplyErrorKind::Limit, 400));
                    assert!(refused.to_string().contains("micro_dollars") && refused.retry_after().is_some());
                }
            }
        }
        assert_eq!(rig.model.model.requests().len(), 1);
    }
}
