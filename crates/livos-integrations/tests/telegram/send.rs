//! Answers into chats: at the allowed pace, in parts, once.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::stream;
use livos_core::{
    conversation::{Finish, Heard, Reply, ReplyControl, ReplyError, ReplyErrorKind, ReplyEvent},
    queue::{Job, JobId, JobKind, Outcome},
    time::Timestamp,
};
use livos_integrations::{
    sender::{DeliverConfig, DeliverError, Outbox, deliver},
    telegram::TelegramOutlet,
};
use livos_twins::{Twin as _, fault::Refusal, telegram::Config};
use tokio::time::{Instant, sleep};

use crate::rig::{Rig, until};

const CHAT: i64 = 7;

/// What became of a reply.
#[derive(Debug, Clone, Default)]
struct Fate(Arc<Mutex<(u32, Vec<Heard>)>>);

impl ReplyControl for Fate {
    fn commit(&mut self) {
        self.0.lock().unwrap().0 += 1;
    }

    fn heard(&mut self, heard: Heard) {
        self.0.lock().unwrap().1.push(heard);
    }
}

/// Says these pieces, each after a while, and ends.
fn reply(pieces: &[&str], every: Duration, fate: &Fate) -> Reply {
    let pieces: Vec<String> = pieces.iter().map(|piece| (*piece).to_owned()).collect();
    let events = pieces.into_iter().map(|piece| Ok(ReplyEvent::Text(piece)));
    let events: Vec<_> = events.chain([Ok(ReplyEvent::Finished(Finish::Complete))]).collect();
    let events = stream::unfold(events.into_iter(), move |mut events| async move {
        sleep(every).await;
        Some((events.next()?, events))
    });
    Reply::new(events, fate.clone())
}

struct Chat {
    rig: Rig,
    outbox: Outbox,
    fate: Fate,
}

impl Chat {
    fn new(config: Config) -> Self {
        let rig = Rig::with(config, livos_core::queue::QueueConfig::default());
        rig.twin.say(CHAT, "hello");
        Self { outbox: Outbox::new(rig.store(), rig.clock.clone()), rig, fate: Fate::default() }
    }

    async fn deliver(&self, name: &str, pieces: &[&str], every: Duration) -> Result<(), DeliverError> {
        self.ask(name, || Ok(reply(pieces, every, &self.fate))).await
    }

    async fn ask(
        &self,
        name: &str,
        reply: impl FnOnce() -> Result<Reply, ReplyError>,
    ) -> Result<(), DeliverError> {
        let outlet = TelegramOutlet::new(self.rig.bot.clone(), CHAT, false);
        deliver(&outlet, &self.outbox, name, DeliverConfig::default(), || async { reply() }).await
    }

    fn texts(&self) -> Vec<String> {
        self.rig.twin.written(CHAT).into_iter().map(|message| message.text).collect()
    }
}

const TOKEN: Duration = Duration::from_millis(50);

#[tokio::test(start_paused = true)]
async fn an_answer_is_streamed_no_faster_than_allowed_and_ends_whole() {
    let chat = Chat::new(Config::default());
    let words: Vec<String> = (0..200).map(|n| format!("word{n} ")).collect();
    let pieces: Vec<&str> = words.iter().map(String::as_str).collect();
    chat.deliver("4242/1", &pieces, TOKEN).await.unwrap();
    assert_eq!(chat.texts(), [words.concat().trim_end()]);
    let times = chat.rig.twin.written(CHAT)[0].times.clone();
    assert!(times.len() >= 5, "it was shown while it grew: {}", times.len());
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)));
    assert_eq!(chat.rig.twin.figures()["floods"], 0);
    let fate = chat.fate.0.lock().unwrap();
    assert_eq!((fate.0, fate.1.len(), fate.1[0].complete), (1, 1, true));
    assert_eq!(fate.1[0].text, words.concat());
}

#[tokio::test(start_paused = true)]
async fn typing_is_shown_for_as_long_as_nothing_else_is() {
    let chat = Chat::new(Config::default());
    chat.deliver("4242/1", &["Here it is."], Duration::from_secs(20)).await.unwrap();
    let typed = chat.rig.twin.typed(CHAT);
    assert!(typed.len() >= 5, "{}", typed.len());
    let gaps: Vec<f64> = typed.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    assert!(gaps.iter().all(|gap| (4.0..5.0).contains(gap)), "{gaps:?}");
    let count = typed.len();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(chat.rig.twin.typed(CHAT).len(), count, "and no longer");
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_is_split_with_its_code_whole_and_shown_as_code() {
    let chat = Chat::new(Config::default());
    let code: String = (0..400).map(|n| format!("let value_{n} = {n};\n")).collect();
    let answer = format!("Here is **all** of it:\n```rust\n{code}```\nThat was `it`.");
    chat.deliver("4242/1", &[&answer], TOKEN).await.unwrap();
    let written = chat.rig.twin.written(CHAT);
    assert!(written.len() >= 2 && written.iter().all(|message| message.text.encode_utf16().count() <= 4096));
    for message in &written {
        let blocks = message.entities.as_array().unwrap().iter().filter(|entity| entity["type"] == "pre");
        assert!(
            blocks.clone().count() == 1 && blocks.clone().all(|block| block["language"] == "rust"),
            "{:?}",
            message.entities
        );
    }
    let all: String = written.iter().map(|message| format!("{}\n", message.text)).collect();
    assert_eq!(
        all.split_whitespace().collect::<String>(),
        format!("Here is all of it: {code} That was it.").split_whitespace().collect::<String>()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_shows_nothing_as_markup_is_shown_as_it_was_written() {
    let chat = Chat::new(Config::default());
    chat.deliver("4242/1", &["```rust\n```"], TOKEN).await.unwrap();
    assert_eq!(chat.texts(), ["```rust\n```"]);
    chat.deliver("4242/2", &[" \n"], TOKEN).await.unwrap_err();
    assert_eq!(chat.texts().len(), 1, "and a blank one is a failure");
}

#[tokio::test(start_paused = true)]
async fn a_flood_wait_is_honoured_in_its_chat_and_no_other() {
    let chat = Chat::new(Config::default());
    chat.rig.twin.say(8, "hello");
    chat.rig.twin.flood(CHAT, Duration::from_secs(40));
    let begun = Instant::now();
    let other = TelegramOutlet::new(chat.rig.bot.clone(), 8, false);
    let (flooded, free) = tokio::join!(chat.deliver("4242/1", &["One."], TOKEN), async {
        sleep(Duration::from_secs(1)).await;
        let config = DeliverConfig::default();
        deliver(&other, &chat.outbox, "4242/2", config, || async {
            Ok::<_, ReplyError>(reply(&["Two."], TOKEN, &chat.fate))
        })
        .await
    });
    flooded.unwrap();
    free.unwrap();
    let at = |chat_id: i64| chat.rig.twin.written(chat_id)[0].times[0] - begun;
    assert!(at(CHAT) >= Duration::from_secs(40) && at(8) < Duration::from_secs(40));
    assert_eq!(chat.rig.twin.figures()["floods"], 1, "it was not asked again in between");
}

#[tokio::test(start_paused = true)]
async fn a_flood_that_is_too_long_gives_the_job_back_and_the_next_attempt_asks_nobody_again() {
    let chat = Chat::new(Config::default());
    chat.rig.twin.flood(CHAT, Duration::from_secs(3000));
    let error = chat.deliver("4242/1", &["The ", "answer."], TOKEN).await.unwrap_err();
    let Outcome::Retry { after: Some(after), .. } = error.outcome(&job(1)) else { panic!("{error:?}") };
    assert!(after > Duration::from_secs(2000), "{after:?}");
    sleep(after + Duration::from_secs(5)).await;
    chat.ask("4242/1", || panic!("the answer is known")).await.unwrap();
    assert_eq!(chat.texts(), ["The answer."]);
    chat.ask("4242/1", || panic!("the answer is known")).await.unwrap();
    assert_eq!(chat.texts(), ["The answer."], "and a third one says nothing new");
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_answer_was_lost_is_not_sent_again() {
    let chat = Chat::new(Config::default());
    chat.rig.twin.lose_answers("sendMessage", 1);
    chat.deliver("4242/1", &["Once."], TOKEN).await.unwrap();
    assert_eq!((chat.texts(), chat.rig.twin.calls("sendmessage")), (vec!["Once.".to_owned()], 1));
}

#[tokio::test(start_paused = true)]
async fn what_certainly_was_not_sent_is_sent_again() {
    let chat = Chat::new(Config::default());
    // The typing call meets the first refusal; the next is for the message.
    chat.rig.twin.refuse(1, Refusal::status(429).header("retry-after", "3"));
    chat.rig.twin.refuse(1, Refusal::status(429).header("retry-after", "3"));
    chat.deliver("4242/1", &["Here."], TOKEN).await.unwrap();
    assert_eq!((chat.texts(), chat.rig.twin.calls("sendmessage")), (vec!["Here.".to_owned()], 1));
}

/// Cuts a delivery off after a while, as a crash would.
async fn crash(chat: &Chat, after: Duration, pieces: &[&str]) {
    let cut = tokio::time::timeout(after, chat.deliver("4242/1", pieces, Duration::from_millis(400))).await;
    assert!(cut.is_err(), "it was cut off before its end");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_died_is_gone_on_from_in_the_same_message() {
    let chat = Chat::new(Config::default());
    let pieces = ["The first words of it, ", "some more, ", "and more, ", "and the end."];
    crash(&chat, Duration::from_millis(1500), &pieces).await;
    assert_eq!(chat.texts().len(), 1);
    assert!(chat.texts()[0].starts_with("The first words of it"));
    chat.deliver("4242/1", &["Another answer, since nobody remembers the first."], TOKEN).await.unwrap();
    assert_eq!(chat.texts(), ["Another answer, since nobody remembers the first."], "no second message");
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_instant_an_answer_is_there_once() {
    let long: String = (0..1500).map(|n| format!("w{n} ")).collect();
    let pieces: Vec<&str> = vec!["Here it comes, all of it: ", &long, "The end."];
    for step in 0..30u64 {
        let chat = Chat::new(Config { floods: false, ..Config::default() });
        let delivery =
            tokio::time::timeout(Duration::from_millis(150 * step), chat.deliver("4242/1", &pieces, TOKEN));
        let _ = delivery.await;
        std::thread::sleep(Duration::from_micros(step * 50));
        chat.deliver("4242/1", &pieces, TOKEN).await.unwrap();
        let seen = chat.texts().join(" ").split_whitespace().collect::<String>();
        assert_eq!(seen, pieces.concat().split_whitespace().collect::<String>(), "after {} ms", 150 * step);
    }
}

/// A job at this attempt.
fn job(attempt: u32) -> Job {
    Job {
        id: JobId(1),
        kind: JobKind::from_static("test"),
        payload: bytes::Bytes::new(),
        attempt,
        max_attempts: 10,
        waits: 0,
        enqueued_at: Timestamp::from_unix_ms(0),
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_chat_and_an_agent_that_fails_are_told_apart() {
    let chat = Chat::new(Config::default());
    let busy =
        || Err(ReplyError::new(ReplyErrorKind::Busy, "busy").with_retry_after(Some(Duration::from_secs(9))));
    let error = chat.ask("4242/1", busy).await.unwrap_err();
    assert!(
        matches!(error.outcome(&job(1)), Outcome::Wait { after: Some(after), .. } if after == Duration::from_secs(9))
    );
    let error =
        chat.ask("4242/1", || Err(ReplyError::new(ReplyErrorKind::Rejected, "no"))).await.unwrap_err();
    assert!(matches!(error.outcome(&job(1)), Outcome::Retry { .. }));
    assert!(matches!(error.outcome(&job(3)), Outcome::Dead { .. }));
    let error = chat.deliver("4242/2", &[" "], TOKEN).await.unwrap_err();
    assert!(matches!(error, DeliverError::Agent(_)), "an empty answer is none: {error:?}");
    chat.rig.twin.block(CHAT);
    let error = chat.deliver("4242/1", &["Hello."], TOKEN).await.unwrap_err();
    let Outcome::Dead { reason } = error.outcome(&job(1)) else { panic!("{error:?}") };
    assert!(reason.contains("blocked by the user"), "{reason}");
    assert_eq!(chat.fate.0.lock().unwrap().1.len(), 0, "nobody read it");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_changed_its_number_is_followed() {
    let chat = Chat::new(Config::default());
    chat.rig.twin.migrate(-55, -100_055);
    let outlet = TelegramOutlet::new(chat.rig.bot.clone(), -55, true);
    let config = DeliverConfig::default();
    let answer = || async { Ok::<_, ReplyError>(reply(&["Here."], TOKEN, &chat.fate)) };
    deliver(&outlet, &chat.outbox, "4242/1", config, answer).await.unwrap();
    assert_eq!(chat.rig.twin.written(-100_055)[0].text, "Here.");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_its_reader_deleted_does_not_hold_up_the_answer() {
    let chat = Chat::new(Config::default());
    let deleting = async {
        until("something is shown", || !chat.texts().is_empty()).await;
        let number = chat.rig.twin.written(CHAT)[0].id;
        chat.rig.bot.delete_message(CHAT, number).await.unwrap();
    };
    let pieces = ["The first words of it, ", "some more, ", "and the end."];
    let (delivered, ()) = tokio::join!(chat.deliver("4242/1", &pieces, Duration::from_secs(2)), deleting);
    delivered.unwrap();
    assert_eq!(chat.texts(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn what_an_outbox_keeps_is_gone_after_two_days() {
    let chat = Chat::new(Config::default());
    chat.deliver("4242/1", &["Hello."], TOKEN).await.unwrap();
    let keys = async || {
        chat.rig
            .store
            .scan(livos_core::time::Clock::now(&chat.rig.clock), "livos:outbox:", None, 9)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(keys().await, 1);
    sleep(Duration::from_secs(2 * 86_400)).await;
    assert_eq!(keys().await, 0);
}
