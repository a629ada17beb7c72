//! The twin by the published protocol, spoken raw over HTTP/1.1.

use base64::{Engine as _, engine::general_purpose};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::*;

const USER: &str = "/gmail/v1/users/me/";
const TOPIC: &str = "projects/p/topics/t";

fn twin(config: Config) -> Gmail {
    Gmail::new(Config { epoch_ms: Some(1_800_000_000_000), ..config })
}

async fn ask(twin: &Gmail, method: &str, path: &str, body: Value) -> (u16, Value) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
    let driver = tokio::spawn(connection);
    let path = if path.starts_with('/') { path.to_owned() } else { format!("{USER}{path}") };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "twin")
        .header("authorization", "Bearer token")
        .body(Full::new(Bytes::from(body.to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    driver.abort();
    (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
}

async fn get(twin: &Gmail, path: &str) -> Value {
    let (status, body) = ask(twin, "GET", path, Value::Null).await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

async fn post(twin: &Gmail, path: &str, body: Value) -> (u16, Value) {
    ask(twin, "POST", path, body).await
}

fn reason(body: &Value) -> &str {
    body["error"]["errors"][0]["reason"].as_str().unwrap_or_default()
}

fn encoded(mail: &str) -> String {
    general_purpose::URL_SAFE.encode(mail)
}

#[tokio::test(start_paused = true)]
async fn history_lists_what_came_after_a_place_in_pages_with_texts_for_numbers() {
    let twin = twin(Config::default());
    let start = get(&twin, "profile").await["historyId"].as_str().unwrap().to_owned();
    let ids: Vec<String> =
        (0..5).map(|n| twin.deliver_text("bob@example.org", &n.to_string(), "x")).collect();
    twin.relabel(&ids[0], &[], &["UNREAD"]);
    let (mut found, mut token, mut last) = (Vec::new(), String::new(), Value::Null);
    loop {
        let path = format!(
            "history?startHistoryId={start}&historyTypes=messageAdded&labelId=INBOX&maxResults=2{token}"
        );
        let page = get(&twin, &path).await;
        let records = page["history"].as_array().unwrap();
        assert!(records.len() <= 2);
        found.extend(
            records
                .iter()
                .map(|record| record["messagesAdded"][0]["message"]["id"].as_str().unwrap().to_owned()),
        );
        last = if last.is_null() { page["historyId"].clone() } else { last };
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!("&pageToken={next}"),
            None => break,
        }
    }
    assert_eq!(found, ids);
    let after = get(&twin, &format!("history?startHistoryId={}", last.as_str().unwrap())).await;
    assert!(after.get("history").is_none(), "{after}");
    let all = get(&twin, &format!("history?startHistoryId={start}")).await;
    assert_eq!(all["history"].as_array().unwrap().len(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_too_old_or_from_the_future_is_not_found() {
    let twin = twin(Config::default());
    twin.deliver_text("bob@example.org", "a", "x");
    let start = get(&twin, "profile").await["historyId"].as_str().unwrap().parse::<u64>().unwrap();
    let list = |start: u64| format!("history?startHistoryId={start}");
    get(&twin, &list(start)).await;
    assert_eq!(ask(&twin, "GET", &list(start + 1000), Value::Null).await.0, 404);
    twin.deliver_text("bob@example.org", "b", "x");
    tokio::time::sleep(Duration::from_secs(8 * 86_400)).await;
    twin.deliver_text("bob@example.org", "c", "x");
    let (status, body) = ask(&twin, "GET", &list(start), Value::Null).await;
    assert_eq!((status, reason(&body)), (404, "notFound"));
    twin.forget_history();
    let now = get(&twin, "profile").await["historyId"].as_str().unwrap().parse::<u64>().unwrap();
    get(&twin, &list(now)).await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_pushes_for_seven_days_once_a_second_and_has_one_topic() {
    let twin = twin(Config::default());
    let mut pushes = twin.pushes();
    let (status, watch) = post(&twin, "watch", json!({ "topicName": TOPIC, "labelIds": ["INBOX"] })).await;
    assert_eq!((status, watch["expiration"].as_str().unwrap()), (200, "1800604800000"));
    let first = pushes.try_recv().unwrap();
    let data = general_purpose::URL_SAFE.decode(first["message"]["data"].as_str().unwrap()).unwrap();
    let said: Value = serde_json::from_slice(&data).unwrap();
    assert_eq!(said["emailAddress"], "anna@example.org");
    assert_eq!(said["historyId"].to_string(), watch["historyId"].as_str().unwrap());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let sent = twin.deliver_as("Subject: x\r\n\r\n", &["SENT"]);
    assert!(pushes.try_recv().is_err(), "a label that is not watched");
    twin.deliver_text("bob@example.org", "a", "x");
    twin.deliver_text("bob@example.org", "b", "x");
    assert!(pushes.try_recv().is_ok() && pushes.try_recv().is_err(), "one a second");
    twin.delete(&sent);
    let (status, body) = post(&twin, "watch", json!({ "topicName": "projects/p/topics/other" })).await;
    assert_eq!(
        (status, body["error"]["message"].as_str().unwrap().starts_with("Only one user push")),
        (400, true)
    );
    tokio::time::sleep(Duration::from_secs(7 * 86_400)).await;
    twin.deliver_text("bob@example.org", "c", "x");
    assert!(pushes.try_recv().is_err(), "expired");
    assert_eq!(post(&twin, "watch", json!({ "topicName": "t" })).await.0, 400);
    assert_eq!(post(&twin, "stop", Value::Null).await.0, 204);
}

#[tokio::test(start_paused = true)]
async fn a_mail_that_is_sent_joins_a_thread_only_by_its_headers_and_its_subject() {
    let twin = twin(Config::default());
    let id = twin
        .deliver("From: bob@example.org\r\nSubject: Lunch\r\nMessage-ID: <1@example.org>\r\n\r\nToday?\r\n");
    let thread =
        get(&twin, &format!("messages/{id}?format=minimal")).await["threadId"].as_str().unwrap().to_owned();
    let answer = |headers: &str| json!({ "threadId": thread, "raw": encoded(&format!("To: bob@example.org\r\n{headers}\r\n\r\nYes")) });
    let table = [
        ("Subject: Re: Lunch\r\nIn-Reply-To: <1@example.org>\r\nReferences: <1@example.org>", true),
        ("Subject: Re: Lunch", false),
        ("Subject: Dinner\r\nIn-Reply-To: <1@example.org>", false),
    ];
    for (headers, joins) in table {
        let (status, sent) = post(&twin, "messages/send", answer(headers)).await;
        assert_eq!((status, sent["threadId"] == thread.as_str()), (200, joins), "{headers}");
    }
    let whole = get(&twin, &format!("threads/{thread}?format=metadata&metadataHeaders=Subject")).await;
    assert_eq!(whole["messages"].as_array().unwrap().len(), 2);
    assert_eq!(
        whole["messages"][1]["payload"]["headers"],
        json!([{ "name": "Subject", "value": "Re: Lunch" }])
    );
    let (status, _) =
        post(&twin, "messages/send", json!({ "raw": encoded("Subject: nobody\r\n\r\n") })).await;
    assert_eq!(status, 400);
    assert_eq!(post(&twin, "messages/send", json!({ "raw": "***" })).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn a_full_message_has_its_parts_and_leaves_attachments_to_be_fetched() {
    let twin = twin(Config::default());
    let id = twin.deliver(
        "Subject: =?utf-8?q?x?=\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\
         Content-Transfer-Encoding: quoted-printable\r\n\r\nSch=C3=B6n =\r\nhier\r\n--b\r\nContent-Type: image/png; name=a.png\r\n\
         Content-Transfer-Encoding: base64\r\n\r\niVBO\r\nRw==\r\n--b--\r\n",
    );
    let message = get(&twin, &format!("messages/{id}")).await;
    assert_eq!(message["snippet"], "Schön hier");
    let parts = &message["payload"]["parts"];
    assert_eq!(parts[0]["body"]["data"], general_purpose::URL_SAFE.encode("Schön hier"));
    let attached = parts[1]["body"]["attachmentId"].as_str().unwrap();
    let fetched = get(&twin, &format!("messages/{id}/attachments/{attached}")).await;
    assert_eq!(
        fetched,
        json!({ "size": 4, "data": general_purpose::URL_SAFE.encode(b"\x89PNG".as_slice()) })
    );
    let raw = get(&twin, &format!("messages/{id}?format=raw")).await;
    assert!(general_purpose::URL_SAFE.decode(raw["raw"].as_str().unwrap()).unwrap().starts_with(b"Subject"));
    let (status, body) = ask(&twin, "GET", &format!("messages/{id}/attachments/unknown"), Value::Null).await;
    assert_eq!((status, reason(&body)), (400, "invalidArgument"));
}

#[tokio::test(start_paused = true)]
async fn searches_and_labels_find_what_they_name() {
    let twin = twin(Config::default());
    let first = twin.deliver_text("bob@example.org", "Old invoice", "pay me");
    tokio::time::sleep(Duration::from_secs(3 * 86_400)).await;
    let second = twin.deliver_text("carl@example.org", "New", "the invoice is attached");
    let label = post(&twin, "labels", json!({ "name": "Bills" })).await.1["id"].as_str().unwrap().to_owned();
    assert_eq!(post(&twin, "labels", json!({ "name": "bills" })).await.0, 409);
    let change = json!({ "ids": [first], "addLabelIds": [label], "removeLabelIds": ["INBOX"] });
    assert_eq!(post(&twin, "messages/batchModify", change).await.0, 204);
    let day = 86_400;
    for (query, found) in [
        ("q=invoice", vec![&second, &first]),
        ("q=from%3Abob+invoice", vec![&first]),
        ("q=invoice+-from:bob", vec![&second]),
        ("q=label:bills", vec![&first]),
        ("labelIds=INBOX", vec![&second]),
        ("q=newer_than:2d", vec![&second]),
        (&format!("q=after:{}", 1_800_000_000 + day), vec![&second]),
        (&format!("q=before:{}", 1_800_000_000 + day), vec![&first]),
        ("q=in:spam", vec![]),
    ] {
        let page = get(&twin, &format!("messages?{query}")).await;
        let ids: Vec<&str> = page["messages"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|one| one["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, found, "{query}");
    }
    let page = get(&twin, "messages?maxResults=1").await;
    let next =
        get(&twin, &format!("messages?maxResults=1&pageToken={}", page["nextPageToken"].as_str().unwrap()))
            .await;
    assert_eq!((&page["messages"][0]["id"], &next["messages"][0]["id"]), (&json!(second), &json!(first)));
    let unknown =
        post(&twin, &format!("messages/{first}/modify"), json!({ "addLabelIds": ["Label_99"] })).await;
    assert_eq!(unknown.0, 400);
    post(&twin, &format!("messages/{second}/trash"), Value::Null).await;
    assert_eq!(twin.labels_of(&second), ["TRASH", "UNREAD"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_quota_and_troubles_are_refused_in_googles_form() {
    let twin = twin(Config { units_per_minute: Some(10), ..Config::default() });
    get(&twin, "messages").await;
    get(&twin, "messages").await;
    let (status, body) = ask(&twin, "GET", "profile", Value::Null).await;
    assert_eq!(
        (status, reason(&body), &body["error"]["errors"][0]["domain"]),
        (403, "userRateLimitExceeded", &json!("usageLimits"))
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    for (trouble, status, said) in [
        (Trouble::TooMany(7), 429, "rateLimitExceeded"),
        (Trouble::DailyLimit, 403, "dailyLimitExceeded"),
        (Trouble::InsufficientPermissions, 403, "insufficientPermissions"),
        (Trouble::Backend, 500, "backendError"),
    ] {
        twin.fail_next(Some("profile"), 1, trouble);
        let (found, body) = ask(&twin, "GET", "profile", Value::Null).await;
        assert_eq!((found, reason(&body)), (status, said));
    }
    twin.revoke();
    let (status, body) = ask(&twin, "GET", "profile", Value::Null).await;
    assert_eq!((status, reason(&body), twin.stats().unauthorized), (401, "authError", 1));
    assert_eq!(ask(&twin, "GET", "/gmail/v1/users/bob@example.org/profile", Value::Null).await.0, 401);
    twin.grant("token");
    assert_eq!(ask(&twin, "GET", "/gmail/v1/users/bob@example.org/profile", Value::Null).await.0, 403);
    assert_eq!(ask(&twin, "GET", "/gmail/v1/users/anna%40example.org/profile", Value::Null).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_door_decides_instead_of_the_list_of_tokens() {
    let door = Door::new(|headers| {
        match headers.get("authorization").is_some_and(|value| value == "Bearer token") {
            true => Ok(()),
            false => Err(Box::new(
                error::Refused::new(StatusCode::FORBIDDEN, "insufficientPermissions", "no").into_response(),
            )),
        }
    });
    let twin = twin(Config { door: Some(door), tokens: Some(vec![]), ..Config::default() });
    get(&twin, "profile").await;
    let other = Gmail::new(Config {
        door: Some(Door::new(|_| Err(Box::new(error::Refused::unauthorized().into_response())))),
        ..Config::default()
    });
    assert_eq!(ask(&other, "GET", "profile", Value::Null).await.0, 401);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_was_done_all_the_same() {
    let twin = twin(Config::default());
    twin.fail_next(Some("messages.send"), 1, Trouble::AnswerLost);
    let mail = json!({ "raw": encoded("To: bob@example.org\r\nSubject: x\r\n\r\nx") });
    assert_eq!(post(&twin, "messages/send", mail).await.0, 503);
    assert_eq!(twin.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn mail_comes_from_outside_too() {
    let twin = twin(Config::default());
    let (status, done) =
        post(&twin, "/twin/deliver", json!({ "from": "bob@example.org", "subject": "Hi", "text": "x" }))
            .await;
    assert_eq!(status, 200);
    let read = get(
        &twin,
        &format!("messages/{}?format=metadata&metadataHeaders=subject", done["id"].as_str().unwrap()),
    )
    .await;
    assert_eq!(read["payload"]["headers"][0]["value"], "Hi");
    assert_eq!(post(&twin, "/twin/unknown", Value::Null).await.0, 404);
}

// Over real sockets, so without paused time.
#[tokio::test]
async fn pushes_are_posted_until_they_are_acknowledged() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let endpoint = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/push", endpoint.local_addr().unwrap()).parse().unwrap();
    let twin = twin(Config {
        push_to: Some(to),
        push_token: Some(Signer::new(|| "signed".into())),
        ..Config::default()
    });
    post(&twin, "watch", json!({ "topicName": TOPIC })).await;
    let mut bodies = Vec::new();
    for status in ["503 Busy", "204 No Content"] {
        let (mut stream, _) = endpoint.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            assert!(stream.read_buf(&mut request).await.unwrap() > 0);
        }
        stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let text = String::from_utf8(request).unwrap();
        assert!(
            text.starts_with("POST /push HTTP/1.1") && text.contains("authorization: Bearer signed"),
            "{text}"
        );
        bodies.push(text.split_once("\r\n\r\n").unwrap().1.to_owned());
    }
    assert_eq!(bodies[0], bodies[1]);
}
