//! The agent and its client over real sockets, against a twin that speaks the provider's wire and
//! shares no type with them.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail as tests do.

use std::time::Duration;

use futures_util::StreamExt;
use livos_agent::{
    message::{Message, Role},
    model::{
        Model, ModelEvent, ModelRequest,
        anthropic::{Anthropic, AnthropicConfig},
    },
    service::{Agent, AgentConfig},
};
use livos_core::{
    conversation::{
        Channel, ConversationId, Finish, Heard, Inbound, Reply, ReplyError, ReplyErrorKind, ReplyEvent,
        Speaker, TokenUsage,
    },
    secret::Secret,
    user::UserId,
};
use livos_twins::{
    Twin as _,
    anthropic::{self as twin, Break},
    fault::Refusal,
    serve,
};
use tokio::net::TcpListener;
use tower::ServiceExt;

/// A twin on a free port, and a configuration that leads to it.
async fn provider(config: twin::Config) -> (twin::Anthropic, AnthropicConfig) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = AnthropicConfig::new(Secret::new("key"));
    client.base_url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    client.idle_timeout = Duration::from_millis(300);
    let provider = twin::Anthropic::new(config);
    tokio::spawn(serve::listen(listener, provider.clone(), std::future::pending()));
    (provider, client)
}

fn client(config: AnthropicConfig) -> Anthropic {
    Anthropic::over_tls(config).unwrap()
}

fn request(said: &str, channel: Channel) -> ModelRequest {
    ModelRequest::new(vec![Message::user(said)], channel, UserId::owner())
}

type Answered = (String, Option<TokenUsage>, Result<Finish, ReplyError>);

/// The text of an answer, its last figures, and how it ended.
async fn answer(client: &Anthropic, said: &str, channel: Channel) -> Answered {
    let mut events = client.answer(request(said, channel));
    let (mut text, mut usage) = (String::new(), None);
    loop {
        match events.next().await.expect("an answer ends with its end or with an error") {
            Ok(ModelEvent::Text(piece)) => text.push_str(&piece),
            Ok(ModelEvent::Usage(figures)) => usage = Some(figures),
            Ok(ModelEvent::Finished(finish)) => return (text, usage, Ok(finish)),
            Ok(_) => {}
            Err(error) => return (text, usage, Err(error)),
        }
    }
}

/// Waits for what the other side does in its own time.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reached)
        .await
        .unwrap_or_else(|_| panic!("{what}: it never came to that"));
}

#[tokio::test]
async fn an_answer_is_the_same_however_the_network_cuts_it() {
    for (ragged, crlf) in [(false, false), (true, false), (true, true)] {
        let (_, config) = provider(twin::Config { ragged, crlf, ..twin::Config::default() }).await;
        let (text, usage, end) = answer(&client(config), "say grüß gott 🙂", Channel::Voice).await;
        assert_eq!(
            text,
            "You said: say grüß gott 🙂. I am a simulated model, so that is all I can say about it."
        );
        let usage = usage.unwrap();
        assert_eq!((usage.output, usage.estimated), (text.split(' ').count() as u64, false));
        assert_eq!(end.unwrap(), Finish::Complete);
    }
}

#[tokio::test]
async fn one_connection_serves_many_turns() {
    let (provider, config) = provider(twin::Config::default()).await;
    let client = client(config);
    for _ in 0..5 {
        answer(&client, "hello", Channel::Voice).await.2.unwrap();
    }
    assert_eq!((provider.stats().requests, provider.stats().total_connections), (5, 1));
}

#[tokio::test]
async fn dropping_an_answer_ends_it_at_the_provider() {
    let (provider, config) = provider(twin::Config::default()).await;
    provider.break_next(Break::Mute);
    let client = client(config);
    let mut events = client.answer(request("tell me a story", Channel::Voice));
    while !matches!(events.next().await.unwrap().unwrap(), ModelEvent::Text(_)) {}
    assert_eq!(provider.stats().aborted, 0);
    drop(events);
    until("the provider stops", || provider.stats().aborted == 1).await;
    until("the connection is gone", || provider.stats().open_connections == 0).await;
    answer(&client, "hello", Channel::Voice).await.2.unwrap();
}

#[tokio::test]
async fn an_answer_that_breaks_says_how() {
    let (provider, config) = provider(twin::Config::default()).await;
    let client = client(config);
    for (how, kind) in [
        (Break::Error, ReplyErrorKind::Busy),
        (Break::Cut, ReplyErrorKind::Unavailable),
        (Break::Mute, ReplyErrorKind::Unavailable),
    ] {
        provider.break_next(how);
        let (text, _, end) = answer(&client, "tell me a story", Channel::Voice).await;
        assert_eq!(text, "Gladly, here is ", "the first words came before it broke: {how:?}");
        assert_eq!(end.unwrap_err().kind(), kind, "{how:?}");
    }
    provider.break_next(Break::Refusal);
    assert_eq!(answer(&client, "hello", Channel::Voice).await.2.unwrap(), Finish::Refused);
}

#[tokio::test]
async fn a_dead_connection_is_replaced_by_the_next_answer() {
    let (provider, config) = provider(twin::Config::default()).await;
    let client = client(config);
    answer(&client, "hello", Channel::Voice).await.2.unwrap();
    assert_eq!(provider.kill_connections(), 1);
    let (_, _, first) = answer(&client, "hello", Channel::Voice).await;
    // Whether the client knew by then that the connection was gone is a race that either side may
    // win.
    if let Err(error) = first {
        assert_eq!(error.kind(), ReplyErrorKind::Unavailable);
    }
    answer(&client, "hello", Channel::Voice).await.2.unwrap();
}

#[tokio::test]
async fn the_next_turn_reads_the_prompt_that_the_last_one_wrote() {
    let (_, mut config) = provider(twin::Config::default()).await;
    config.system = "Keep to the rules of the house. ".repeat(600);
    let client = client(config);
    let cached = |usage: Option<TokenUsage>| {
        let usage = usage.unwrap();
        (usage.cache_write > 4_096, usage.cache_read > 4_096)
    };
    assert_eq!(cached(answer(&client, "hello", Channel::Voice).await.1), (true, false));
    assert_eq!(cached(answer(&client, "thanks", Channel::Voice).await.1), (false, true));
}

#[tokio::test]
async fn a_model_does_not_think_before_it_speaks() {
    let (_, mut config) = provider(twin::Config::default()).await;
    // This family thinks unless it is told not to.
    config.model = "claude-sonnet-5".into();
    let client = client(config);
    let spoken = answer(&client, "hello", Channel::Voice).await;
    let written = answer(&client, "hello", Channel::Chat).await;
    assert_eq!(spoken.0, written.0, "thoughts are no part of an answer");
    assert_eq!(spoken.1.unwrap().output, spoken.0.split(' ').count() as u64);
    assert!(written.1.unwrap().output > spoken.1.unwrap().output);
}

async fn ask(agent: &Agent<Anthropic>, said: &str) -> Reply {
    let id = ConversationId::try_from("test").unwrap();
    let inbound = Inbound::new(id, Channel::Voice, Speaker::Owner, UserId::owner(), said);
    agent.clone().oneshot(inbound).await.unwrap()
}

async fn first_words(reply: &mut Reply) -> Result<String, ReplyError> {
    loop {
        let event = reply.next().await.expect("a reply ends with its end or with an error")?;
        if let ReplyEvent::Text(text) = event {
            return Ok(text);
        }
    }
}

#[tokio::test]
async fn a_provider_that_is_overloaded_is_asked_once_more_and_one_that_asks_for_time_gets_it() {
    let (provider, config) = provider(twin::Config::default()).await;
    let agent = Agent::new(client(config), AgentConfig::default());
    provider.refuse(1, Refusal::status(529));
    assert_eq!(first_words(&mut ask(&agent, "hello").await).await.unwrap(), "Hello ");

    provider.refuse(1, Refusal::status(429).header("retry-after", "7"));
    let error = first_words(&mut ask(&agent, "hello").await).await.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (ReplyErrorKind::Busy, Some(Duration::from_secs(7))));
    assert_eq!(provider.stats().requests, 1, "nobody asked again in the meantime");

    provider.refuse(1, Refusal::status(401));
    let error = first_words(&mut ask(&agent, "hello").await).await.unwrap_err();
    assert_eq!(error.kind(), ReplyErrorKind::Unauthorized);
    assert!(error.to_string().contains("invalid x-api-key"), "{error}");
}

#[tokio::test]
async fn a_conversation_goes_on_from_what_was_heard() {
    let (_, config) = provider(twin::Config::default()).await;
    let agent = Agent::new(client(config), AgentConfig::default());
    let mut story = ask(&agent, "tell me a story").await;
    story.commit();
    first_words(&mut story).await.unwrap();
    story.heard(Heard { text: "Gladly, here is".into(), complete: false });
    drop(story);
    let mut unheard = ask(&agent, "no, a joke").await;
    unheard.commit();
    unheard.heard(Heard { text: String::new(), complete: false });
    drop(unheard);
    // The twin refuses histories that the provider would refuse: blank text, two turns of one role,
    // a last word of the assistant.
    let mut sum = ask(&agent, "what is two plus three").await;
    sum.commit();
    assert_eq!(first_words(&mut sum).await.unwrap(), "That ");
    let history = agent.history(&ConversationId::try_from("test").unwrap());
    let said: Vec<_> = history.iter().map(|message| (message.role, message.text.as_str())).collect();
    assert_eq!(
        said,
        [
            (Role::User, "tell me a story"),
            (Role::Assistant, "Gladly, here is …"),
            (Role::User, "no, a joke\nwhat is two plus three"),
        ]
    );
}
