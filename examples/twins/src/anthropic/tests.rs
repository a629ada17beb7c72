//! The twin by the published protocol, spoken raw over HTTP/1.1.

use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::*;

/// The status and the body of one request.
async fn post(twin: &Anthropic, path: &str, body: &Value) -> (u16, String) {
    let (mut sender, connection) = http1::handshake(TokioIo::new(twin.connect())).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = Request::post(path)
        .header("host", "twin")
        .header("x-api-key", "key")
        .header("anthropic-version", "2023-06-01")
        .body(Full::new(bytes::Bytes::from(body.to_string())))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(sender);
    driver.abort();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn events(body: &str) -> Vec<Value> {
    body.split("\n\n")
        .filter_map(|event| event.split_once("data: "))
        .map(|(_, data)| serde_json::from_str(data).unwrap())
        .collect()
}

fn ask(text: &str) -> Value {
    json!({ "model": "claude-haiku-4-5", "max_tokens": 300, "stream": true, "messages": [{ "role": "user", "content": text }] })
}

fn twin(config: Config) -> Anthropic {
    Anthropic::new(config)
}

#[tokio::test(start_paused = true)]
async fn an_answer_streams_in_the_documented_order() {
    for ragged in [false, true] {
        let (status, body) = post(
            &twin(Config { ragged, ..Config::default() }),
            "/v1/messages",
            &ask("what is two plus three"),
        )
        .await;
        let events = events(&body);
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(
            (status, kinds[0], kinds[1], kinds[2]),
            (200, "message_start", "content_block_start", "ping")
        );
        assert_eq!(kinds[kinds.len() - 3..], ["content_block_stop", "message_delta", "message_stop"]);
        let text: String = events.iter().filter_map(|event| event["delta"]["text"].as_str()).collect();
        assert!(text.starts_with("That makes five."), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_the_provider_refuses_are_refused() {
    let twin = twin(Config::default());
    let use_block = json!({ "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_1", "name": "x", "input": {} }] });
    let result = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "toolu_2", "content": "" }] });
    let user = json!({ "role": "user", "content": "hi" });
    let table = [
        (json!([]), "at least one message"),
        (json!([{ "role": "assistant", "content": "hi" }, user]), "first message must use the \"user\" role"),
        (
            json!([{ "role": "user", "content": [{ "type": "text", "text": " " }] }]),
            "text content blocks must be non-empty",
        ),
        (
            json!([user, use_block, user]),
            "`tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
        (json!([user, result]), "unexpected `tool_use_id` found"),
        (json!([{ "role": "robot", "content": "hi" }]), "Input should be 'user' or 'assistant'"),
    ];
    for (messages, expected) in table {
        let mut request = ask("");
        request["messages"] = messages;
        let (status, body) = post(&twin, "/v1/messages", &request).await;
        assert!(status == 400 && body.contains(&expected.replace('"', "\\\"")), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_prefix_is_written_once_and_then_read() {
    let twin = twin(Config::default());
    let mut request = ask("hello");
    request["system"] =
        json!([{ "type": "text", "text": "rule ".repeat(4_000), "cache_control": { "type": "ephemeral" } }]);
    let first = usage(&post(&twin, "/v1/messages", &request).await.1);
    let second = usage(&post(&twin, "/v1/messages", &request).await.1);
    assert!(
        first["cache_creation_input_tokens"].as_u64().unwrap() > 4_096
            && first["cache_read_input_tokens"] == 0
    );
    assert_eq!(second["cache_read_input_tokens"], first["cache_creation_input_tokens"]);
    tokio::time::sleep(Duration::from_secs(301)).await;
    assert_eq!(usage(&post(&twin, "/v1/messages", &request).await.1)["cache_read_input_tokens"], 0);
}

fn system(request: &mut Value, words: usize) {
    request["system"] =
        json!([{ "type": "text", "text": "rule ".repeat(words), "cache_control": { "type": "ephemeral" } }]);
}

fn usage(body: &str) -> Value {
    events(body)[0]["message"]["usage"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_prefix_can_be_read_only_once_the_answer_that_wrote_it_has_begun() {
    let twin = twin(Config { profile: Profile::Seed, ..Config::default() });
    let mut request = ask("hello");
    system(&mut request, 4_000);
    let (first, second) =
        tokio::join!(post(&twin, "/v1/messages", &request), post(&twin, "/v1/messages", &request));
    for (_, body) in [first, second] {
        assert!(usage(&body)["cache_creation_input_tokens"].as_u64().unwrap() > 4_096, "both paid the write");
    }
    let (_, third) = post(&twin, "/v1/messages", &request).await;
    assert!(usage(&third)["cache_read_input_tokens"].as_u64().unwrap() > 4_096);
}

#[tokio::test(start_paused = true)]
async fn an_hour_is_kept_an_hour_and_every_use_renews_it() {
    let twin = twin(Config::default());
    let mut request = ask("hello");
    system(&mut request, 4_000);
    request["system"][0]["cache_control"]["ttl"] = json!("1h");
    let first = usage(&post(&twin, "/v1/messages", &request).await.1);
    assert!(first["cache_creation"]["ephemeral_1h_input_tokens"].as_u64().unwrap() > 4_096);
    for minutes in [50, 50, 61] {
        tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
        let read = usage(&post(&twin, "/v1/messages", &request).await.1)["cache_read_input_tokens"] != 0;
        assert_eq!(read, minutes < 60);
    }
}

/// A conversation of `turns` turns, its last block marked.
fn conversation(turns: usize) -> Value {
    let mut request = ask("");
    let message = |n: usize| {
        let role = if n.is_multiple_of(2) { "user" } else { "assistant" };
        json!({ "role": role, "content": [{ "type": "text", "text": format!("{n} ").repeat(2_000) }] })
    };
    let mut messages: Vec<Value> = (0..turns).map(message).collect();
    messages[turns - 1]["content"][0]["cache_control"] = json!({ "type": "ephemeral" });
    request["messages"] = json!(messages);
    request
}

#[tokio::test(start_paused = true)]
async fn a_mark_finds_entries_up_to_twenty_blocks_before_it() {
    for (later, found) in [(25, true), (27, false)] {
        let twin = twin(Config::default());
        post(&twin, "/v1/messages", &conversation(5)).await;
        let (_, body) = post(&twin, "/v1/messages", &conversation(later)).await;
        assert_eq!(usage(&body)["cache_read_input_tokens"] != 0, found, "{later}");
    }
}

#[tokio::test(start_paused = true)]
async fn parameters_that_a_model_does_not_take_are_refused() {
    let marked = vec![json!({ "type": "text", "text": "rule", "cache_control": { "type": "ephemeral" } }); 5];
    let table = [
        ("claude-haiku-4-5", "system", json!(marked), "A maximum of 4 blocks with cache_control"),
        ("claude-haiku-4-5", "temperature", json!(1.5), "temperature: range: 0..1"),
        ("claude-sonnet-5", "temperature", json!(0.2), "not supported on this model"),
        ("claude-fable-5", "thinking", json!({ "type": "disabled" }), "disabled thinking"),
        (
            "claude-opus-4-8",
            "thinking",
            json!({ "type": "enabled", "budget_tokens": 2_000 }),
            "budget_tokens is not",
        ),
        ("claude-haiku-4-5", "thinking", json!({ "type": "enabled", "budget_tokens": 10 }), "equal to 1024"),
        (
            "claude-haiku-4-5",
            "thinking",
            json!({ "type": "enabled", "budget_tokens": 2_000 }),
            "must be greater than",
        ),
    ];
    for (model, field, value, expected) in table {
        let mut request = ask("hello");
        (request["model"], request[field]) = (json!(model), value);
        let (status, body) = post(&twin(Config::default()), "/v1/messages", &request).await;
        assert!(status == 400 && body.contains(expected), "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["request_id"].as_str().unwrap().starts_with("req_"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_model_that_thinks_streams_its_thoughts_or_a_pause_and_signs_them() {
    let thinking = |model: &str, thinking: Value| {
        let mut request = ask("hello");
        (request["model"], request["thinking"]) = (json!(model), thinking);
        request
    };
    let table = [
        (thinking("claude-haiku-4-5", json!({ "type": "adaptive" })), Some(true)),
        (thinking("claude-sonnet-5", Value::Null), Some(false)),
        (thinking("claude-sonnet-5", json!({ "type": "disabled" })), None),
        (thinking("claude-haiku-4-5", Value::Null), None),
    ];
    for (request, shown) in table {
        let events = events(&post(&twin(Config::default()), "/v1/messages", &request).await.1);
        let has = |kind: &str| events.iter().any(|event| event["delta"]["type"] == kind);
        assert_eq!(has("signature_delta"), shown.is_some(), "{request}");
        assert_eq!(has("thinking_delta"), shown == Some(true), "{request}");
        let usage = &events[events.len() - 2]["usage"];
        assert_eq!(usage["output_tokens_details"]["thinking_tokens"] != 0, shown.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_so_and_costs_nothing() {
    let twin = twin(Config::default());
    twin.break_next(Break::Refusal);
    let events = events(&post(&twin, "/v1/messages", &ask("hello")).await.1);
    let delta = &events[events.len() - 2]["delta"];
    assert_eq!(
        (&delta["stop_reason"], &delta["stop_details"]["type"]),
        (&json!("refusal"), &json!("refusal"))
    );
    assert_eq!((twin.stats().input_tokens, twin.stats().output_tokens), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_streamed_is_what_is_billed() {
    let twin = twin(Config { crlf: true, ..Config::default() });
    let (_, body) = post(&twin, "/v1/messages", &ask("what is two plus three")).await;
    let events = events(&body.replace("\r\n", "\n"));
    let words = events.iter().filter(|event| event["delta"]["type"] == "text_delta").count() as u64;
    assert_eq!(events[events.len() - 2]["usage"]["output_tokens"], words);
    assert_eq!((twin.stats().output_tokens, twin.stats().aborted), (words, 0));
}

#[tokio::test(start_paused = true)]
async fn a_tool_call_streams_its_input_in_pieces_of_json() {
    let call = Said::Tool { name: "weather".into(), input: json!({ "city": "Zürich", "days": 3 }) };
    let brain = Brain::Script(vec![vec![Said::Text("Let me look. ".into()), call]]);
    let events =
        events(&post(&twin(Config { brain, ..Config::default() }), "/v1/messages", &ask("weather")).await.1);
    let json: String = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str()).collect();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), json!({ "city": "Zürich", "days": 3 }));
    assert!(events.iter().any(|event| event["delta"]["stop_reason"] == "tool_use"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_ends_at_its_limit() {
    let mut request = ask("tell me a story");
    request["max_tokens"] = json!(5);
    let events = events(&post(&twin(Config::default()), "/v1/messages", &request).await.1);
    assert!(events.iter().any(|event| event["delta"]["stop_reason"] == "max_tokens"));
    let words = events.iter().filter(|event| event["delta"]["type"] == "text_delta").count();
    assert_eq!(words, 5);
}

#[tokio::test(start_paused = true)]
async fn answers_break_as_they_were_told_to() {
    let twin = twin(Config::default());
    for (how, last) in [(Break::Error, "error"), (Break::Cut, "content_block_delta")] {
        twin.break_next(how);
        let events = events(&post(&twin, "/v1/messages", &ask("tell me a story")).await.1);
        assert_eq!(events.last().unwrap()["type"], last);
    }
    twin.refuse(1, Refusal::status(529).header("retry-after", "3"));
    let (status, body) = post(&twin, "/v1/messages", &ask("hello")).await;
    assert!(status == 529 && body.contains("overloaded_error"));
}

#[tokio::test(start_paused = true)]
async fn tokens_are_counted_without_an_answer() {
    let (status, body) = post(&twin(Config::default()), "/v1/messages/count_tokens", &ask("hello")).await;
    assert!(
        status == 200 && serde_json::from_str::<Value>(&body).unwrap()["input_tokens"].as_u64().unwrap() > 0
    );
}
