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
    let usage = |body: &str| events(body)[0]["message"]["usage"].clone();
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
