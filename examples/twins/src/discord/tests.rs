//! Each rule of the header, met by bare clients.

use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use super::*;
use crate::serve::Twin;

const IDENTIFY: &str = r#"{"op":2,"d":{"token":"bot-token","intents":4609,"properties":{"os":"linux","browser":"t","device":"t"}}}"#;

struct Client(WebSocketStream<tokio::io::DuplexStream>);

impl Client {
    async fn open(twin: &Discord, path: &str) -> Self {
        let (socket, _) =
            client_async(format!("ws://gateway.discord.test{path}"), twin.connect()).await.unwrap();
        Self(socket)
    }

    async fn ready(twin: &Discord) -> Self {
        let mut client = Self::open(twin, "/?v=10&encoding=json").await;
        assert_eq!(client.next().await["op"], 10);
        client.send(IDENTIFY).await;
        let ready = client.next().await;
        assert_eq!((ready["t"].as_str(), ready["s"].as_u64()), (Some("READY"), Some(1)));
        assert_eq!(client.next().await["t"], "GUILD_CREATE");
        client
    }

    async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.unwrap();
    }

    async fn next(&mut self) -> Value {
        match self.0.next().await {
            Some(Ok(Message::Text(text))) => serde_json::from_str(&text).unwrap(),
            Some(Ok(Message::Close(Some(frame)))) => json!({ "closed": u16::from(frame.code) }),
            other => json!({ "ended": format!("{other:?}") }),
        }
    }

    /// The code that a payload is closed with.
    async fn refused(twin: &Discord, payload: &str) -> u64 {
        let mut client = Self::open(twin, "/?v=10&encoding=json").await;
        client.next().await;
        client.send(payload).await;
        client.next().await["closed"].as_u64().unwrap_or(0)
    }
}

fn twin() -> Discord {
    Discord::new(Config::default())
}

async fn call(twin: &Discord, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(twin.connect())).await.unwrap();
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "discord.test")
        .header("user-agent", "DiscordBot (https://example.test, 1)")
        .header("authorization", "Bot bot-token")
        .body(Full::new(bytes::Bytes::from(if body.is_null() { String::new() } else { body.to_string() })))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn close_codes_are_those_of_the_documentation() {
    let twin = twin();
    assert_eq!(Client::refused(&twin, "x").await, 4002);
    assert_eq!(Client::refused(&twin, &format!(r#"{{"op":1,"d":"{}"}}"#, "x".repeat(4096))).await, 4002);
    assert_eq!(Client::refused(&twin, r#"{"op":99}"#).await, 4001);
    assert_eq!(Client::refused(&twin, r#"{"op":3,"d":{}}"#).await, 4003);
    assert_eq!(Client::refused(&twin, r#"{"op":2,"d":{"token":"other"}}"#).await, 4004);
    let intents = |bits: u64| IDENTIFY.replace("4609", &bits.to_string());
    assert_eq!(Client::refused(&twin, &intents(1 << 30)).await, 4013);
    assert_eq!(Client::refused(&twin, &intents(1 << 15)).await, 4014);
    let mut old = Client::open(&twin, "/?v=9&encoding=json").await;
    assert_eq!(old.next().await["closed"], 4012);
    let mut twice = Client::ready(&twin).await;
    twice.send(IDENTIFY).await;
    assert_eq!(twice.next().await["closed"], 4005);
}

#[tokio::test(start_paused = true)]
async fn too_many_events_and_too_long_a_silence_are_closed() {
    let twin = twin();
    let mut client = Client::ready(&twin).await;
    for _ in 0..119 {
        client.send(r#"{"op":1,"d":1}"#).await;
        assert_eq!(client.next().await["op"], 11);
    }
    client.send(r#"{"op":1,"d":1}"#).await;
    assert_eq!(client.next().await["closed"], 4008);
    sleep(Duration::from_secs(6)).await;
    let mut silent = Client::ready(&twin).await;
    assert_eq!(silent.next().await["closed"], 4009);
}

#[tokio::test(start_paused = true)]
async fn a_resume_replays_what_was_missed_and_a_close_with_1000_ends_the_session() {
    let twin = twin();
    let mut client = Client::ready(&twin).await;
    let channel = twin.direct_channel(ANNA);
    twin.say(channel, ANNA, "one");
    assert_eq!(client.next().await["d"]["content"], "one");
    drop(client);
    sleep(Duration::from_millis(1)).await;
    twin.say(channel, ANNA, "two");
    let resume = r#"{"op":6,"d":{"token":"bot-token","session_id":"session-1","seq":3}}"#;
    let mut client = Client::open(&twin, "/resume/?v=10&encoding=json").await;
    client.next().await;
    client.send(resume).await;
    assert_eq!(client.next().await["d"]["content"], "two");
    assert_eq!(client.next().await["t"], "RESUMED");
    assert_eq!((twin.stats().resumes, twin.stats().replayed), (1, 1));
    client
        .0
        .close(Some(tokio_tungstenite::tungstenite::protocol::CloseFrame {
            code: 1000.into(),
            reason: "".into(),
        }))
        .await
        .unwrap();
    sleep(Duration::from_secs(1)).await;
    let mut client = Client::open(&twin, "/resume/?v=10&encoding=json").await;
    client.next().await;
    client.send(resume).await;
    assert_eq!(client.next().await, json!({ "op": 9, "d": false, "s": null, "t": null }));
    assert_eq!(twin.stats().close_codes, [1000]);
}

#[tokio::test(start_paused = true)]
async fn identifies_are_spaced_and_too_many_reset_the_token() {
    let twin = Discord::new(Config { identifies_per_day: 3, ..Config::default() });
    drop(Client::ready(&twin).await);
    let mut early = Client::open(&twin, "/?v=10&encoding=json").await;
    early.next().await;
    early.send(IDENTIFY).await;
    assert_eq!(early.next().await["op"], 9);
    sleep(Duration::from_secs(6)).await;
    drop(Client::ready(&twin).await);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(Client::refused(&twin, IDENTIFY).await, 4004);
    assert_eq!(twin.stats().token_resets, 1);
    assert_eq!(call(&twin, "GET", "/api/v10/users/@me", Value::Null).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn text_is_withheld_from_whom_it_does_not_concern() {
    let twin = twin();
    let mut client = Client::ready(&twin).await;
    twin.say(CHANNEL, ANNA, "between us");
    assert_eq!(client.next().await["d"]["content"], "");
    twin.say(CHANNEL, ANNA, &format!("<@{BOT}> hello"));
    let message = client.next().await;
    assert_eq!(message["d"]["content"], format!("<@{BOT}> hello"));
    assert_eq!(message["d"]["mentions"][0]["id"], BOT.to_string());
}

#[tokio::test(start_paused = true)]
async fn messages_are_limited_by_channel_and_a_nonce_is_sent_once() {
    let twin = twin();
    let (path, say) = (
        format!("/api/v10/channels/{CHANNEL}/messages"),
        |nonce: &str| json!({ "content": "x", "nonce": nonce, "enforce_nonce": true }),
    );
    let (_, first) = call(&twin, "POST", &path, say("a")).await;
    let (_, again) = call(&twin, "POST", &path, say("a")).await;
    assert_eq!(first["id"], again["id"]);
    for nonce in ["b", "c", "d"] {
        assert_eq!(call(&twin, "POST", &path, say(nonce)).await.0, 200);
    }
    let (status, limited) = call(&twin, "POST", &path, say("e")).await;
    assert_eq!(status, 429);
    assert!(limited["retry_after"].as_f64().is_some_and(|wait| wait > 0.0 && wait <= 5.0), "{limited}");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(call(&twin, "POST", &path, json!({ "content": "x".repeat(2001) })).await.1["code"], 50035);
    assert_eq!(call(&twin, "POST", &path, json!({ "content": "@everyone" })).await.0, 200);
    let stats = twin.stats();
    assert_eq!((stats.messages, stats.repeated_nonces, stats.rate_limited, stats.pings), (5, 1, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_interaction_is_answered_once_in_time_and_for_a_quarter_of_an_hour() {
    let twin = twin();
    let mut client = Client::ready(&twin).await;
    let id = twin.command(CHANNEL, ANNA, "ask", &[("question", "why?")]);
    let token = client.next().await["d"]["token"].as_str().unwrap().to_owned();
    let callback = format!("/api/v10/interactions/{id}/{token}/callback");
    let original = format!("/api/v10/webhooks/{APPLICATION}/{token}/messages/@original");
    assert_eq!(call(&twin, "PATCH", &original, json!({ "content": "early" })).await.1["code"], 10015);
    assert_eq!(call(&twin, "POST", &callback, json!({ "type": 5 })).await.0, 204);
    assert_eq!(call(&twin, "POST", &callback, json!({ "type": 5 })).await.1["code"], 40060);
    assert_eq!(call(&twin, "PATCH", &original, json!({ "content": "because" })).await.0, 200);
    assert_eq!(twin.interaction(id).unwrap().original.as_deref(), Some("because"));
    sleep(Duration::from_secs(901)).await;
    assert_eq!(call(&twin, "PATCH", &original, json!({ "content": "late" })).await.1["code"], 50027);
    let late = twin.command(CHANNEL, ANNA, "ask", &[]);
    let token = twin.interaction(late).unwrap().token;
    sleep(Duration::from_secs(4)).await;
    let callback = format!("/api/v10/interactions/{late}/{token}/callback");
    assert_eq!(call(&twin, "POST", &callback, json!({ "type": 5 })).await.1["code"], 10062);
}

#[tokio::test(start_paused = true)]
async fn a_post_to_an_endpoint_is_signed_and_a_probe_finds_who_does_not_check() {
    let twin = twin();
    let key = ed25519_dalek::VerifyingKey::from_bytes(twin.0.key.verifying_key().as_bytes()).unwrap();
    let endpoint = |checks: bool| {
        tower::service_fn(move |request: Request<Full<bytes::Bytes>>| async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
            let signature = header("x-signature-ed25519");
            let bytes: Vec<u8> = (0..64)
                .map(|index| u8::from_str_radix(&signature[2 * index..2 * index + 2], 16).unwrap())
                .collect();
            let signature = ed25519_dalek::Signature::from_slice(&bytes).unwrap();
            let signed = [header("x-signature-timestamp").as_bytes(), &body].concat();
            let right = key.verify_strict(&signed, &signature).is_ok();
            let mut response = Response::new(Full::new(bytes::Bytes::from(r#"{"type":1}"#)));
            if checks && !right {
                *response.status_mut() = StatusCode::UNAUTHORIZED;
            }
            Ok::<_, std::convert::Infallible>(response)
        })
    };
    twin.probe(endpoint(true)).await.unwrap();
    assert!(twin.probe(endpoint(false)).await.unwrap_err().to_string().contains("wrong signature"));
    let answered = twin.post_command(endpoint(true), CHANNEL, "ask", &[]).await.unwrap();
    assert_eq!(answered.response, json!({ "type": 1 }));
}

#[tokio::test(start_paused = true)]
async fn messages_are_listed_after_one_newest_first() {
    let twin = twin();
    let ids: Vec<u64> = (0..5).map(|n| twin.say(CHANNEL, ANNA, &n.to_string())).collect();
    let path = format!("/api/v10/channels/{CHANNEL}/messages?after={}&limit=2", ids[1]);
    let (_, page) = call(&twin, "GET", &path, Value::Null).await;
    let texts: Vec<&str> =
        page.as_array().unwrap().iter().map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(texts, ["3", "2"]);
}
