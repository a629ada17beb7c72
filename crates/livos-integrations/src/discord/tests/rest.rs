//! Requests within the limits, tried again where that is safe.

use std::sync::atomic::{AtomicU32, Ordering};

use http::StatusCode;
use livos_twins::Refusal;

use super::*;
use crate::discord::{Author, CommandOption, Id, OptionKind, Outgoing, RestError, SlashCommand};

const CHANNEL: Id = Id::new(twin::CHANNEL);

#[tokio::test(start_paused = true)]
async fn many_callers_are_held_within_the_limits_and_never_refused() {
    let house = House::new();
    let rest = house.rest_with(|config| config.longest_wait = Duration::from_secs(600));
    let mut callers = tokio::task::JoinSet::new();
    for n in 0..60 {
        let (rest, channel) =
            (rest.clone(), house.twin.direct_channel(if n % 2 == 0 { twin::ANNA } else { twin::BEN }));
        callers.spawn(async move {
            rest.show_typing(Id::new(channel)).await.unwrap();
            rest.send_message(Id::new(channel), &Outgoing::text(n.to_string())).await.unwrap();
        });
    }
    callers.join_all().await;
    let stats = house.twin.stats();
    assert_eq!((stats.messages, stats.typing, stats.rate_limited, stats.invalid_requests), (60, 60, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_is_told_for_how_long() {
    let house = House::new();
    let rest = house.rest_with(|config| config.longest_wait = Duration::from_secs(1));
    for n in 0..5 {
        rest.send_message(CHANNEL, &Outgoing::text(n.to_string())).await.unwrap();
    }
    let error = rest.send_message(CHANNEL, &Outgoing::text("6")).await.unwrap_err();
    assert!(error.is_temporary());
    assert!(error.retry_after().unwrap() > Duration::from_secs(4), "{error:?}");
    assert_eq!(house.twin.stats().rate_limited, 0);
}

#[tokio::test(start_paused = true)]
async fn a_429_is_waited_for_as_long_as_its_body_says() {
    let house = House::new();
    let refusal = Refusal {
        body: Some(r#"{"message":"slow","retry_after":2.5,"global":false}"#.into()),
        ..Refusal::status(429)
    };
    house.twin.refuse(2, refusal.header("retry-after", "3").header("x-ratelimit-scope", "user"));
    let begun = Instant::now();
    house.rest().send_message(CHANNEL, &Outgoing::text("x")).await.unwrap();
    assert_eq!(begun.elapsed().as_millis() / 100, 50);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_repeats_the_token_is_told_without_it() {
    let house = House::new();
    let body = Some(r#"{"message":"no bot-token here","code":7}"#.into());
    house.twin.refuse(1, Refusal { body, ..Refusal::status(400) });
    let error = house.rest().show_typing(CHANNEL).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "discord refused the request with status 400 Bad Request: no … here (code 7)"
    );
}

#[tokio::test(start_paused = true)]
async fn only_what_has_a_nonce_is_sent_again_after_a_failure() {
    let house = House::new();
    house.twin.refuse(1, Refusal::status(502));
    let plain = house.rest().send_message(CHANNEL, &Outgoing::text("x")).await.unwrap_err();
    assert!(matches!(plain, RestError::Failed(StatusCode::BAD_GATEWAY)), "{plain:?}");
    house.twin.refuse(2, Refusal::status(502));
    let mut message = Outgoing::text("x");
    message.nonce = Some("one".into());
    let first = house.rest().send_message(CHANNEL, &message).await.unwrap();
    assert_eq!(house.rest().send_message(CHANNEL, &message).await.unwrap(), first);
    assert_eq!((house.twin.stats().messages, house.twin.stats().repeated_nonces), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_asked_with_once() {
    let house = House::new();
    let rest = house.rest_with(|config| config.token = Secret::new("wrong"));
    for _ in 0..10 {
        assert!(rest.gateway().await.unwrap_err().is_unauthorized());
        assert!(rest.send_message(CHANNEL, &Outgoing::text("x")).await.unwrap_err().is_unauthorized());
    }
    assert_eq!(house.twin.stats().invalid_requests, 1);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_forbidden_is_left_alone_for_a_while() {
    let house = House::new();
    let rest = house.rest();
    house.twin.refuse(1, Refusal::status(403));
    for _ in 0..10 {
        assert!(rest.send_message(CHANNEL, &Outgoing::text("x")).await.unwrap_err().is_gone());
    }
    assert_eq!(house.twin.stats().requests, 0, "one was refused, and nine were not sent");
    tokio::time::sleep(Duration::from_secs(600)).await;
    rest.send_message(CHANNEL, &Outgoing::text("x")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_mute_is_given_up() {
    let house = House::new();
    house.twin.inject_into(livos_twins::Target::Each, livos_twins::Fault::Stall(livos_twins::When::Now));
    let begun = Instant::now();
    let error = house.rest().gateway().await.unwrap_err();
    assert!(matches!(error, RestError::TimedOut(_)) && error.is_temporary(), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(4 * 15 + 10));
}

fn event(guild: bool) -> Event {
    Event::Message(crate::discord::ChannelMessage {
        id: Id::new(77),
        channel: CHANNEL,
        guild: guild.then_some(Id::new(twin::GUILD)),
        author: Author { id: Id::new(twin::ANNA), name: "anna".into() },
        text: "tell me".into(),
        addressed: true,
        attachments: Vec::new(),
        reply_to: None,
    })
}

#[tokio::test(start_paused = true)]
async fn a_long_answer_comes_in_parts_and_once_however_often_it_is_sent() {
    let house = House::new();
    let text = format!("@everyone\n{}", "A sentence of some words. ".repeat(300));
    house.answer(&event(true), &text).await.unwrap();
    let said = house.twin.said_by_bot(twin::CHANNEL);
    assert_eq!(said.len(), 4);
    assert!(said.iter().all(|part| part.chars().count() <= Outgoing::MAX_TEXT));
    assert_eq!(said.concat().split_whitespace().count(), text.split_whitespace().count());
    assert_eq!(house.twin.stats().pings, 0, "a model's @everyone notifies nobody");
    // Another process that knows nothing of it.
    let stranger = House { store: Arc::default(), twin: house.twin.clone(), ..House::new() };
    stranger.answer(&event(true), &text).await.unwrap();
    assert_eq!(house.twin.said_by_bot(twin::CHANNEL), said);
    assert_eq!(house.twin.stats().repeated_nonces, 4);
}

#[tokio::test(start_paused = true)]
async fn a_streamed_answer_is_edited_as_it_grows_within_the_limits() {
    let house = House::new();
    let pieces = ["word "; 2000];
    house.answer_slowly(&event(false), &pieces, Duration::from_millis(50)).await.unwrap();
    let said = house.twin.said_by_bot(twin::CHANNEL);
    assert_eq!(said.concat().split_whitespace().count(), 2000);
    let stats = house.twin.stats();
    assert_eq!((stats.rate_limited, stats.messages), (0, 5));
    assert!(stats.typing > 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_edited_as_it_grows() {
    let house = House::new();
    let rest = house.rest();
    let id = rest.send_message(CHANNEL, &Outgoing::text("…")).await.unwrap();
    for text in ["It", "It is", "It is noon."] {
        rest.edit_message(CHANNEL, id, text).await.unwrap();
    }
    assert_eq!(house.twin.said_by_bot(twin::CHANNEL), ["It is noon."]);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_fetched_from_discord_s_hosts_only_and_up_to_a_size() {
    let house = House::new();
    let rest = house.rest();
    let path = house.twin.store_file(twin::CHANNEL, "voice.ogg", vec![7; 5000]);
    let url = format!("http://discord.test{path}");
    assert_eq!(rest.download(&url, 5000).await.unwrap().len(), 5000);
    assert!(matches!(rest.download(&url, 4999).await, Err(RestError::TooLong(4999))));
    for elsewhere in [
        "http://metadata.internal/x",
        "https://discord.test/x",
        "file:///etc/passwd",
        "x",
        "http://discord.test@evil.test/x",
    ] {
        assert!(matches!(rest.download(elsewhere, 10).await, Err(RestError::Invalid(_))), "{elsewhere}");
    }
    assert!(matches!(
        rest.download("http://discord.test/attachments/1/2/none", 10).await,
        Err(RestError::Refused { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn commands_are_written_when_they_differ_and_only_then() {
    let house = House::new();
    let rest = house.rest();
    let application = rest.application().await.unwrap();
    assert_eq!(application, Id::new(twin::APPLICATION));
    let question = CommandOption::new("question", "What you want to know", OptionKind::Text).required();
    let mut commands = vec![SlashCommand::new("ask", "Ask something").with_option(question)];
    assert!(rest.register_commands(application, &commands).await.unwrap());
    assert!(!rest.register_commands(application, &commands).await.unwrap());
    commands.push(SlashCommand::new("status", "How it goes"));
    assert!(rest.register_commands(application, &commands).await.unwrap());
    assert_eq!((house.twin.stats().command_writes, house.twin.commands().len()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn people_who_never_wrote_are_reached_directly() {
    let house = House::new();
    let channel = house.rest().direct_channel(Id::new(twin::BEN)).await.unwrap();
    house.rest().send_message(channel, &Outgoing::text("good morning")).await.unwrap();
    assert_eq!(house.twin.said_by_bot(channel.number()), ["good morning"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_in_no_error_and_no_debug() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let broken = tower::service_fn(move |_: Request<Full<Bytes>>| {
        counted.fetch_add(1, Ordering::Relaxed);
        async { Err::<Response<Full<Bytes>>, BoxError>("no route".into()) }
    });
    let rest = Rest::new(
        RestConfig::new(Secret::new("very-secret-token")),
        livos_core::http::HttpClient::new(broken),
    )
    .unwrap();
    let error = rest.gateway().await.unwrap_err();
    assert!(!format!("{error:?} {error} {rest:?}").contains("very-secret"));
    assert_eq!(calls.load(Ordering::Relaxed), 4, "a question can be asked again");
    for blank in ["", "  ", "a\nb"] {
        assert!(
            Rest::new(
                RestConfig::new(Secret::new(blank)),
                livos_core::http::HttpClient::new(http(&House::new().twin))
            )
            .is_err(),
            "{blank:?}"
        );
    }
}
