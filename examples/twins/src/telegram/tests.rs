//! The twin by the published protocol, spoken raw over HTTP/1.1.

use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::sleep;

use super::*;

const TOKEN: &str = "4242:AbCdEfGhIjKlMnOpQrStUvWxYz_0123456";

async fn request(twin: &Telegram, request: Request<Full<Bytes>>) -> (u16, Value) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    driver.await.unwrap().unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into()))
}

/// Calls a method with JSON.
async fn call(twin: &Telegram, method: &str, parameters: Value) -> (u16, Value) {
    let call = Request::post(format!("/bot{TOKEN}/{method}"))
        .header("host", "twin")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(parameters.to_string())));
    request(twin, call.unwrap()).await
}

/// The ids of the updates that a poll brings.
async fn poll(twin: &Telegram, parameters: Value) -> Vec<i64> {
    let (status, answer) = call(twin, "getUpdates", parameters).await;
    assert_eq!(status, 200, "{answer}");
    answer["result"].as_array().unwrap().iter().map(|update| update["update_id"].as_i64().unwrap()).collect()
}

fn twin() -> Telegram {
    Telegram::new(Config::default())
}

/// What an error says.
fn said(answer: &(u16, Value)) -> (u16, &str) {
    assert_eq!((&answer.1["ok"], &answer.1["error_code"]), (&json!(false), &json!(answer.0)));
    (answer.0, answer.1["description"].as_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn parameters_come_in_the_query_in_a_form_or_as_json() {
    let twin = twin();
    twin.say(7, "hello");
    let get = Request::get(format!("/bot{TOKEN}/SENDMESSAGE?chat_id=7&text=a%2Bb+c")).header("host", "twin");
    assert_eq!(request(&twin, get.body(Full::default()).unwrap()).await.1["result"]["text"], "a+b c");
    let form = Request::post(format!("/bot{TOKEN}/sendMessage"))
        .header("host", "twin")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from("chat_id=7&text=%F0%9F%99%82&entities=%5B%7B%22type%22%3A%22bold%22%2C%22offset%22%3A0%2C%22length%22%3A2%7D%5D"));
    let (_, sent) = request(&twin, form.unwrap()).await;
    assert_eq!(
        (&sent["result"]["text"], &sent["result"]["entities"][0]["type"]),
        (&json!("🙂"), &json!("bold"))
    );
    let (_, sent) = call(&twin, "sendMessage", json!({ "chat_id": "7", "text": "json" })).await;
    assert_eq!(sent["result"]["chat"], json!({ "id": 7, "type": "private" }));
}

#[tokio::test(start_paused = true)]
async fn doors_are_closed_to_others() {
    let twin = Telegram::new(Config { token: Some(TOKEN.into()), ..Config::default() });
    for path in ["/bot1:short/getMe", "/bot4242:another-key-of-some-length/getMe", "/file/botx/voice/1.oga"] {
        let get = Request::get(path).header("host", "twin").body(Full::default()).unwrap();
        assert_eq!(
            said(&request(&twin, get).await),
            (401, "Unauthorized: invalid token specified"),
            "{path}"
        );
    }
    assert_eq!(said(&call(&twin, "getMoney", json!({})).await), (404, "Not Found: method not found"));
    assert_eq!(call(&twin, "getMe", json!({})).await.1["result"]["id"], 4242);
}

#[tokio::test(start_paused = true)]
async fn an_offset_confirms_and_a_negative_one_forgets() {
    let twin = twin();
    let ids: Vec<i64> = (0..5).map(|n| twin.say(7, &n.to_string())).collect();
    assert_eq!(poll(&twin, json!({ "limit": 2 })).await, ids[..2]);
    assert_eq!(
        poll(&twin, json!({ "offset": 0, "timeout": 10 })).await.len(),
        1,
        "the same again at once is slowed"
    );
    assert_eq!(poll(&twin, json!({ "offset": ids[2] })).await, ids[2..]);
    assert_eq!(twin.pending(), 3);
    assert_eq!(poll(&twin, json!({ "offset": -1 })).await, ids[4..]);
    assert_eq!(twin.pending(), 1);
    assert_eq!(
        poll(&twin, json!({ "offset": ids[4] + 1000 })).await,
        ids[4..],
        "an offset from the future is not believed"
    );
    assert_eq!(poll(&twin, json!({ "offset": ids[4] + 1 })).await, [0i64; 0]);
}

#[tokio::test(start_paused = true)]
async fn updates_are_forgotten_after_a_day_and_ids_begin_anew_after_a_silent_week() {
    let twin = twin();
    let first = twin.say(7, "old");
    sleep(Duration::from_secs(86_399)).await;
    assert_eq!(twin.pending(), 1);
    sleep(Duration::from_secs(1)).await;
    assert_eq!((twin.pending(), twin.say(7, "new")), (0, first + 1));
    sleep(Duration::from_secs(8 * 86_400)).await;
    assert_ne!(twin.say(7, "newer"), first + 2);
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_waits_and_a_hot_loop_is_slowed() {
    let twin = twin();
    let begun = Instant::now();
    assert_eq!(poll(&twin, json!({ "timeout": 90 })).await, [0i64; 0]);
    assert_eq!(begun.elapsed(), Duration::from_secs(50), "the longest there is");
    poll(&twin, json!({ "offset": 5 })).await;
    let again = Instant::now();
    poll(&twin, json!({ "offset": 5 })).await;
    assert_eq!(again.elapsed(), Duration::from_secs(3));
    let (said, found) = tokio::join!(
        async {
            sleep(Duration::from_secs(7)).await;
            twin.say(7, "hello")
        },
        poll(&twin, json!({ "timeout": 50 }))
    );
    assert_eq!(found, [said]);
}

#[tokio::test(start_paused = true)]
async fn a_second_poll_ends_the_first() {
    let twin = twin();
    let ended = |wait: u64| {
        let twin = twin.clone();
        async move {
            sleep(Duration::from_millis(wait)).await;
            (call(&twin, "getUpdates", json!({ "timeout": 50 })).await, Instant::now())
        }
    };
    let begun = Instant::now();
    let (first, second, third) = tokio::join!(ended(0), ended(1000), ended(2000));
    assert_eq!(said(&first.0), (409, updates::OTHER_POLL));
    assert_eq!(said(&second.0), (409, updates::OTHER_POLL));
    assert_eq!(
        (first.1 - begun, second.1 - begun),
        (Duration::from_secs(1), Duration::from_secs(5)),
        "the next conflict waits 3 s"
    );
    assert_eq!(third.0.0, 200);
}

#[tokio::test(start_paused = true)]
async fn texts_are_checked_as_the_provider_does() {
    let twin = twin();
    twin.say(7, "hello");
    let table = [
        (json!({ "text": "x" }), "Bad Request: chat_id is empty"),
        (json!({ "chat_id": 99, "text": "x" }), "Bad Request: chat not found"),
        (json!({ "chat_id": 7, "text": " \n" }), "Bad Request: message text is empty"),
        (json!({ "chat_id": 7, "text": "🙂".repeat(2049) }), "Bad Request: message is too long"),
        (
            json!({ "chat_id": 7, "text": "*x", "parse_mode": "MarkdownV2" }),
            "Bad Request: can't parse entities: Can't find end of the entity starting at byte offset 0",
        ),
        (
            json!({ "chat_id": 7, "text": "x", "entities": [{ "type": "bold", "offset": 0, "length": 2 }] }),
            "Bad Request: can't parse MessageEntity: wrong offset or length",
        ),
    ];
    for (parameters, expected) in table {
        assert_eq!(said(&call(&twin, "sendMessage", parameters).await), (400, expected));
    }
    assert_eq!(call(&twin, "sendMessage", json!({ "chat_id": 7, "text": "🙂".repeat(2048) })).await.0, 200);
    let same = json!({ "chat_id": 7, "message_id": 2, "text": "🙂".repeat(2048) });
    assert!(
        said(&call(&twin, "editMessageText", same).await)
            .1
            .starts_with("Bad Request: message is not modified")
    );
    twin.block(7);
    assert_eq!(
        said(&call(&twin, "sendMessage", json!({ "chat_id": 7, "text": "x" })).await),
        (403, "Forbidden: bot was blocked by the user")
    );
    twin.migrate(-5, -1005);
    let moved = call(&twin, "sendMessage", json!({ "chat_id": -5, "text": "x" })).await;
    assert_eq!(moved.1["parameters"]["migrate_to_chat_id"], -1005);
}

#[tokio::test(start_paused = true)]
async fn who_writes_too_much_has_to_wait() {
    let twin = twin();
    twin.say(7, "hello");
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(call(&twin, "sendMessage", json!({ "chat_id": 7, "text": "x" })).await);
    }
    assert!(answers[..5].iter().all(|(status, _)| *status == 200));
    let (status, refused) = &answers[5];
    assert_eq!((*status, &refused["parameters"]["retry_after"]), (429, &json!(1)));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(call(&twin, "sendMessage", json!({ "chat_id": 7, "text": "x" })).await.0, 200);
    twin.flood(7, Duration::from_secs(30));
    let (_, flooded) = call(&twin, "sendChatAction", json!({ "chat_id": 7, "action": "typing" })).await;
    assert_eq!(flooded["description"], "Too Many Requests: retry after 30");
}

#[tokio::test(start_paused = true)]
async fn a_webhook_gets_each_update_until_it_takes_it() {
    let twin = twin();
    let seen: Arc<Mutex<Vec<(Instant, String, Value)>>> = Arc::default();
    let book = Arc::clone(&seen);
    twin.deliver_by(Courier::new(move |request| {
        let book = Arc::clone(&book);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let update: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
            let token = head.headers["x-telegram-bot-api-secret-token"].to_str().unwrap().to_owned();
            let mut book = lock(&book);
            book.push((Instant::now(), token, update));
            // The first three are not taken; the rest are answered with a call.
            let body =
                json!({ "method": "sendMessage", "chat_id": 7, "text": format!("answer {}", book.len()) });
            let mut response = Response::new(Bytes::from(body.to_string()));
            if book.len() <= 3 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            }
            if book.len() == 2 {
                response.headers_mut().insert("retry-after", "40".parse().unwrap());
            }
            Ok(response)
        })
    }));
    let http = call(&twin, "setWebhook", json!({ "url": "http://elsewhere.example" })).await;
    assert_eq!(said(&http), (400, "Bad Request: bad webhook: An HTTPS URL must be provided for webhook"));
    let set = json!({ "url": "https://here.example", "secret_token": "abc" });
    assert_eq!(call(&twin, "setWebhook", set.clone()).await.0, 200);
    assert_eq!(call(&twin, "setWebhook", set).await.0, 429, "once a second");
    assert!(said(&call(&twin, "getUpdates", json!({})).await).1.contains("webhook is active"));
    let ids = [twin.say(7, "one"), twin.say(7, "two")];
    sleep(Duration::from_secs(300)).await;
    let seen = lock(&seen).clone();
    let order: Vec<i64> = seen.iter().map(|(_, _, update)| update["update_id"].as_i64().unwrap()).collect();
    assert_eq!(order, [ids[0], ids[0], ids[0], ids[0], ids[1]], "a chat's order is kept");
    assert!(seen.iter().all(|(_, token, _)| token == "abc"));
    assert!(seen[2].0 - seen[1].0 >= Duration::from_secs(40), "as long as it was asked to");
    let answers: Vec<String> = twin.written(7).into_iter().map(|message| message.text).collect();
    assert_eq!(answers, ["answer 4", "answer 5"]);
    let (_, info) = call(&twin, "getWebhookInfo", json!({})).await;
    assert_eq!(info["result"]["pending_update_count"], 0);
    assert_eq!(
        info["result"]["last_error_message"],
        "Wrong response from the webhook: 503 Service Unavailable"
    );
    call(&twin, "deleteWebhook", json!({})).await;
    assert_eq!(poll(&twin, json!({})).await, [0i64; 0]);
}

#[tokio::test(start_paused = true)]
async fn files_are_named_and_downloaded() {
    let twin = twin();
    let voice = twin.add_file("voice/file_1.oga", vec![7u8; 1000]);
    let (_, named) = call(&twin, "getFile", json!({ "file_id": voice["file_id"] })).await;
    assert_eq!(
        (&named["result"]["file_path"], &named["result"]["file_size"]),
        (&json!("voice/file_1.oga"), &json!(1000))
    );
    let get = Request::get(format!("/file/bot{TOKEN}/voice/file_1.oga"))
        .header("host", "twin")
        .body(Full::default());
    assert_eq!(request(&twin, get.unwrap()).await.0, 200);
    let escaped = TOKEN.replace(':', "%3A");
    let get = Request::get(format!("/file/bot{escaped}/voice/file_1.oga"))
        .header("host", "twin")
        .body(Full::default());
    assert_eq!(request(&twin, get.unwrap()).await.0, 200, "as some clients write it");
    let large = twin.add_file("video/file_2.mp4", vec![0u8; MAX_FILE + 1]);
    assert_eq!(
        said(&call(&twin, "getFile", json!({ "file_id": large["file_id"] })).await),
        (400, "Bad Request: file is too big")
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_was_carried_out() {
    let twin = twin();
    twin.say(7, "hello");
    twin.lose_answers("sendMessage", 1);
    let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
    let driver = tokio::spawn(connection);
    let call = Request::post(format!("/bot{TOKEN}/sendMessage"))
        .header("host", "twin")
        .header("content-type", "application/json");
    let body = json!({ "chat_id": 7, "text": "x" }).to_string();
    assert!(sender.send_request(call.body(Full::new(Bytes::from(body))).unwrap()).await.is_err());
    let _ = driver.await;
    assert_eq!(twin.written(7).len(), 1);
}
