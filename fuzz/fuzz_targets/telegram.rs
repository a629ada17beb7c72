//! What Telegram's server may send, whatever it holds: updates become jobs or are refused, and
//! answers are read or are errors.
#![no_main]

use bytes::Bytes;
use http_body_util::Full;
use libfuzzer_sys::fuzz_target;
use livos_core::{conversation::Speaker, secret::Secret, user::UserId};
use livos_integrations::sender::Outlet;
use livos_integrations::telegram::{self, Bot, IncomingMessage, TelegramConfig, TelegramOutlet, User};

const KEY: &str = "AbCdEfGhIjKlMnOpQrStUvWxYz_0123456";

fn me() -> Option<User> {
    let message = br#"{"update_id":1,"message":{"message_id":1,"date":1,"chat":{"id":1,"type":"private"},"from":{"id":42,"username":"twin_bot"}}}"#;
    telegram::update(message).ok()?.message?.from
}

fuzz_target!(|data: &[u8]| {
    if let Ok((id, job)) = telegram::job(42, data.to_vec()) {
        assert_eq!(job.dedupe.map(|dedupe| dedupe.key), Some(format!("42/{id}")));
    }
    if let (Ok(update), Some(me)) = (telegram::update(data), me())
        && let Some(said) = IncomingMessage::of(&update, &me)
    {
        assert!(said.inbound(42, Speaker::GroupMember, UserId::owner()).is_ok(), "numbers make an id");
    }

    let Some((kind, body)) = data.split_first() else { return };
    let (status, body) = ([200, 400, 409, 429, 502][usize::from(kind % 5)], Bytes::copy_from_slice(body));
    let http = tower::service_fn(move |_: http::Request<Full<Bytes>>| {
        let response = http::Response::builder().status(status).body(Full::new(body.clone()));
        async move { response }
    });
    let bot = Bot::new(
        TelegramConfig::new(Secret::new(format!("42:{KEY}"))),
        livos_core::http::HttpClient::new(http),
    )
    .expect("a token");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let errors = [
            bot.me().await.err(),
            bot.updates(0, 100, std::time::Duration::ZERO, &[]).await.err(),
            bot.webhook_info().await.err(),
        ];
        for error in errors.into_iter().flatten() {
            assert!(!error.to_string().contains(KEY) && error.to_string().len() < 2000);
        }
        let _ = TelegramOutlet::new(bot, 7, false).post("hello", "1").await;
    });
});
