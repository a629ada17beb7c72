//! Single calls: what they bring, how they fail, and what they never say.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use livos_core::secret::Secret;
use livos_integrations::telegram::{
    Bot, BotCommand, ErrorKind, FetchError, IncomingMessage, MessageText, TelegramConfig, update,
};
use livos_twins::{
    Twin as _,
    fault::{Fault, Refusal, Target, When},
    telegram::{Config, Telegram},
};
use serde_json::json;

use crate::rig::{TOKEN, bot, bot_with};

#[tokio::test(start_paused = true)]
async fn a_bot_knows_who_it_is() {
    let twin = Telegram::new(Config::default());
    let me = bot(&twin).me().await.unwrap();
    assert_eq!((me.id, me.is_bot, me.username.as_deref()), (4242, true, Some("livos_twin_bot")));
    assert_eq!(me.can_read_all_group_messages, Some(false));
}

#[tokio::test(start_paused = true)]
async fn errors_say_whose_fault_it_is_and_what_to_do() {
    let twin = Telegram::new(Config { token: Some(TOKEN.into()), ..Config::default() });
    let bot = bot(&twin);
    let unknown = bot.send_message(&MessageText::new(99, "hello")).await.unwrap_err();
    assert_eq!((unknown.kind(), unknown.description()), (ErrorKind::Rejected, "Bad Request: chat not found"));
    twin.say(7, "hello");
    twin.block(7);
    let blocked = bot.send_message(&MessageText::new(7, "hello")).await.unwrap_err();
    assert_eq!((blocked.kind(), blocked.is_temporary()), (ErrorKind::Forbidden, false));
    twin.refuse(1, Refusal::status(429).header("retry-after", "7"));
    let busy = bot.me().await.unwrap_err();
    assert_eq!((busy.kind(), busy.retry_after()), (ErrorKind::Busy, Some(Duration::from_secs(7))));
    twin.refuse(1, Refusal { body: Some("<html>502 Bad Gateway</html>".into()), ..Refusal::status(502) });
    let down = bot.me().await.unwrap_err();
    assert_eq!((down.kind(), down.may_have_happened()), (ErrorKind::Server, true));
    twin.refuse(1, Refusal { body: Some("not json".into()), ..Refusal::status(200) });
    assert_eq!(bot.me().await.unwrap_err().kind(), ErrorKind::Lost);
    let other = bot_with(&twin, "4242:another-key-of-that-length-0000000");
    assert_eq!(other.me().await.unwrap_err().kind(), ErrorKind::Unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_broken_network_leaves_doubt_and_a_closed_door_none() {
    let twin = Telegram::new(Config::default());
    twin.inject_into(Target::Next(1), Fault::HalfMessage(When::Now));
    let lost = bot(&twin).me().await.unwrap_err();
    assert_eq!((lost.kind(), lost.may_have_happened()), (ErrorKind::Lost, true));
    twin.inject_into(Target::Next(1), Fault::Stall(When::Now));
    let mute = bot(&twin).me().await.unwrap_err();
    assert!(mute.to_string().contains("none came within 15 s"), "{mute}");

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = TelegramConfig::new(Secret::new(TOKEN));
    config.base_url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let refused = Bot::over_tls(config).unwrap().me().await.unwrap_err();
    assert_eq!((refused.kind(), refused.may_have_happened()), (ErrorKind::NotConnected, false));
}

#[tokio::test]
async fn the_token_is_in_no_error_whatever_the_http_client_says() {
    let http = tower::service_fn(|request: http::Request<Full<Bytes>>| async move {
        Err::<http::Response<Full<Bytes>>, _>(format!("connection to {} failed", request.uri()))
    });
    let bot =
        Bot::new(TelegramConfig::new(Secret::new(TOKEN)), livos_core::http::HttpClient::new(http)).unwrap();
    let error = bot.me().await.unwrap_err();
    let key = TOKEN.split_once(':').unwrap().1;
    let said = format!("{error} {error:?} {bot:?} {:?}", TelegramConfig::new(Secret::new(TOKEN)));
    assert!(!said.contains(key), "{said}");
    assert!(error.to_string().contains("failed"), "{error}");
    for token in [
        "",
        "4242",
        "x:AbCdEfGhIjKlMnOpQrStUvWxYz",
        "4242:short",
        "4242:AbCdEfGh/../IjKlMn",
        "4242:Ab CdEfGhIjKlMnOp",
    ] {
        let http = tower::service_fn(|_: http::Request<Full<Bytes>>| async {
            Err::<http::Response<Full<Bytes>>, _>("no")
        });
        let error =
            Bot::new(TelegramConfig::new(Secret::new(token)), livos_core::http::HttpClient::new(http))
                .unwrap_err();
        assert!(!error.to_string().contains("AbCd"), "{error}");
    }
}

#[tokio::test]
async fn the_token_is_in_no_error_whatever_the_server_says_and_no_error_is_long() {
    let key = TOKEN.split_once(':').unwrap().1;
    let long = "x".repeat(100_000);
    for (status, body) in [
        (200, json!({ "ok": true, "result": { "id": format!("{key}{long}") } })),
        (200, json!({ "ok": false, "description": format!("Not Found: /bot4242:{key}/getMe") })),
        (400, json!({ "ok": false, "error_code": 400, "description": format!("{key}{long}") })),
    ] {
        let body = Bytes::from(body.to_string());
        let http = tower::service_fn(move |_: http::Request<Full<Bytes>>| {
            let answer = http::Response::builder().status(status).body(Full::new(body.clone()));
            async move { answer }
        });
        let error =
            Bot::new(TelegramConfig::new(Secret::new(TOKEN)), livos_core::http::HttpClient::new(http))
                .unwrap()
                .me()
                .await
                .unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains(key) && error.to_string().len() < 2000, "{said}");
        assert!(!error.description().contains(key), "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_edit_that_changes_nothing_is_done() {
    let twin = Telegram::new(Config::default());
    let bot = bot(&twin);
    twin.say(7, "hello");
    let sent = bot.send_message(&MessageText::new(7, "one")).await.unwrap().message_id;
    bot.edit_message(sent, &MessageText::new(7, "one")).await.unwrap();
    bot.edit_message(sent, &MessageText::new(7, "two")).await.unwrap();
    assert_eq!(
        bot.edit_message(sent + 50, &MessageText::new(7, "x")).await.unwrap_err().kind(),
        ErrorKind::Rejected
    );
    let written = twin.written(7);
    assert_eq!((written.len(), written[0].text.as_str()), (1, "two"));
    bot.delete_message(7, sent).await.unwrap();
    assert_eq!(twin.written(7), []);
}

#[tokio::test(start_paused = true)]
async fn commands_are_registered_when_they_changed() {
    let twin = Telegram::new(Config::default());
    let bot = bot(&twin);
    let commands = [
        BotCommand::new("new", "Begin a new conversation").unwrap(),
        BotCommand::new("stop", "Stop what is going on").unwrap(),
    ];
    assert!(bot.register_commands(&commands).await.unwrap());
    assert!(!bot.register_commands(&commands).await.unwrap());
    assert_eq!(twin.commands()[0]["command"], "new");
    assert!(bot.register_commands(&commands[..1]).await.unwrap());
    assert_eq!((twin.calls("setmycommands"), twin.commands().as_array().unwrap().len()), (2, 1));
    for (name, description) in
        [("", "x"), ("New", "x"), ("a b", "x"), (&"a".repeat(33), "x"), ("a", ""), ("a", &"x".repeat(257))]
    {
        assert!(BotCommand::new(name, description).is_err(), "{name}");
    }
}

/// What the bot finds in an update with this message.
fn heard(message: serde_json::Value, me: &livos_integrations::telegram::User) -> IncomingMessage {
    let update = update(json!({ "update_id": 1, "message": message }).to_string().as_bytes()).unwrap();
    IncomingMessage::of(&update, me).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_voice_note_is_fetched_with_its_kind_and_within_its_bound() {
    let twin = Telegram::new(Config::default());
    let bot = bot(&twin);
    let me = bot.me().await.unwrap();
    let sound: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    let mut voice = twin.add_file("voice/file_1.oga", sound.clone());
    (voice["duration"], voice["mime_type"]) = (json!(4), json!("audio/ogg"));
    let mut message = twin.message(7, "");
    message["voice"] = voice.clone();
    let said = heard(message.clone(), &me).attachment.unwrap();
    let media = bot.fetch(&said, 1 << 20).await.unwrap();
    assert_eq!((media.bytes.as_ref(), media.mime.as_str()), (sound.as_slice(), "audio/ogg"));

    let calls = twin.calls("getfile");
    assert_eq!(bot.fetch(&said, 100_000).await, Err(FetchError::TooLarge { most: 100_000 }));
    assert_eq!(twin.calls("getfile"), calls, "what says that it is too large is not asked for");
    // The sender's word is not the last one on it.
    message["voice"]["file_size"] = json!(10);
    let lying = heard(message.clone(), &me).attachment.unwrap();
    assert_eq!(bot.fetch(&lying, 100_000).await, Err(FetchError::TooLarge { most: 100_000 }));
    message["voice"]["file_id"] = json!("unknown");
    let gone = heard(message, &me).attachment.unwrap();
    assert!(
        matches!(bot.fetch(&gone, 1 << 20).await, Err(FetchError::Telegram(error)) if error.kind() == ErrorKind::Rejected)
    );
}

#[tokio::test(start_paused = true)]
async fn a_button_that_was_pressed_is_answered() {
    let twin = Telegram::new(Config::default());
    let bot = bot(&twin);
    bot.answer_callback("query-1", Some(&"x".repeat(500))).await.unwrap();
    assert_eq!(twin.answered_callbacks(), ["query-1"]);
}
