//! The client against answers cut and broken in every way.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use livos_core::{
    conversation::{Channel, Finish, ReplyError, ReplyErrorKind, TokenUsage},
    http::{HttpClient, ResponseBody},
    secret::Secret,
    user::UserId,
};
use proptest::prelude::*;
use tower::service_fn;

use super::{Anthropic, AnthropicConfig};
use crate::{
    message::Message,
    model::{Model, ModelEvent, ModelRequest},
};

const ANSWER: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"usage\":{\"input_tokens\":9,\
    \"cache_read_input_tokens\":5,\"output_tokens\":1}}}\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n\
    data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüß \"}}\n\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"new_delta\",\"x\":1}}\n\n\
    data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Gott 🙂\"}}\n\n\
    data: {\"type\":\"content_block_stop\",\"index\":0}\n\ndata: {\"type\":\"new_event\"}\n\n\
    data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n\
    data: {\"type\":\"message_stop\"}\n\n";

const KEY: &str = "sk-ant-api03-key";

type Chunks = Vec<Bytes>;

/// A client whose server answers everything with this status, headers and body; the body stays open
/// when `open`.
fn client(
    status: u16,
    headers: &'static [(&'static str, &'static str)],
    chunks: Chunks,
    open: bool,
) -> Anthropic {
    let http = service_fn(move |_: Request<Bytes>| {
        let frames = stream::iter(chunks.clone()).map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
        let rest = if open { stream::pending().left_stream() } else { stream::empty().right_stream() };
        let mut response = Response::new(StreamBody::new(frames.chain(rest)));
        *response.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        async move { Ok::<_, Infallible>(response) }
    });
    Anthropic::new(AnthropicConfig::new(Secret::new(KEY)), HttpClient::new(http)).unwrap()
}

fn request() -> ModelRequest {
    ModelRequest::new(vec![Message::user("hello")], Channel::Voice, UserId::owner())
}

async fn collect(client: &Anthropic) -> Vec<Result<ModelEvent, ReplyError>> {
    client.answer(request()).collect().await
}

fn text_of(events: &[Result<ModelEvent, ReplyError>]) -> String {
    let text = |event: &Result<ModelEvent, ReplyError>| match event {
        Ok(ModelEvent::Text(text)) => Some(text.clone()),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[tokio::test]
async fn an_answer_is_its_text_its_usage_and_its_end() {
    let events = collect(&client(200, &[], vec![Bytes::from_static(ANSWER.as_bytes())], true)).await;
    assert_eq!(text_of(&events), "Grüß Gott 🙂");
    let usage = |output, estimated| {
        ModelEvent::Usage(TokenUsage { input: 9, cache_read: 5, cache_write: 0, output, estimated })
    };
    let others: Vec<_> = events
        .into_iter()
        .map(Result::unwrap)
        .filter(|event| !matches!(event, ModelEvent::Text(_)))
        .collect();
    assert_eq!(others, [usage(1, true), usage(7, false), ModelEvent::Finished(Finish::Complete)]);
}

#[tokio::test]
async fn an_answer_that_ends_before_it_is_whole_is_a_failure() {
    let cut = ANSWER.find("data: {\"type\":\"message_stop\"").unwrap();
    let events =
        collect(&client(200, &[], vec![Bytes::copy_from_slice(&ANSWER.as_bytes()[..cut])], false)).await;
    assert_eq!(events.last().unwrap().as_ref().unwrap_err().kind(), ReplyErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_open_but_mute_is_given_up() {
    let start = tokio::time::Instant::now();
    let events = collect(&client(200, &[], vec![], true)).await;
    assert_eq!(events[0].as_ref().unwrap_err().kind(), ReplyErrorKind::Unavailable);
    assert_eq!(start.elapsed(), Duration::from_secs(10));
}

#[tokio::test]
async fn an_error_inside_the_stream_ends_it() {
    let body = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let events = collect(&client(200, &[], vec![body.into()], true)).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].as_ref().unwrap_err().kind(), ReplyErrorKind::Busy);
}

#[tokio::test]
async fn statuses_become_kinds() {
    type Headers = &'static [(&'static str, &'static str)];
    let table: [(u16, Headers, ReplyErrorKind, Option<u64>); 9] = [
        (429, &[("retry-after", "7")], ReplyErrorKind::Busy, Some(7_000)),
        (529, &[("retry-after-ms", "250")], ReplyErrorKind::Busy, Some(250)),
        (500, &[], ReplyErrorKind::Unavailable, None),
        (500, &[("x-should-retry", "false")], ReplyErrorKind::Rejected, None),
        (400, &[], ReplyErrorKind::Rejected, None),
        (401, &[("x-should-retry", "false")], ReplyErrorKind::Unauthorized, None),
        (403, &[], ReplyErrorKind::Unauthorized, None),
        (429, &[("retry-after", "86400")], ReplyErrorKind::Busy, Some(3_600_000)),
        (503, &[("retry-after", "soon")], ReplyErrorKind::Unavailable, None),
    ];
    for (status, headers, kind, after) in table {
        let body = r#"{"type":"error","error":{"type":"some_error","message":"why"},"request_id":"req_1"}"#;
        let events = collect(&client(status, headers, vec![body.into()], false)).await;
        let error = events[0].as_ref().unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (kind, after.map(Duration::from_millis)), "{status}");
        assert!(error.to_string().contains("some_error): why"), "{error}");
    }
}

#[tokio::test]
async fn the_request_is_the_one_the_provider_documents() {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let http = service_fn(move |request: Request<Bytes>| {
        seen.send(request).unwrap();
        async {
            Ok::<_, Infallible>(Response::new(ResponseBody::from(Bytes::from_static(ANSWER.as_bytes()))))
        }
    });
    let mut config = AnthropicConfig::new(Secret::new("key"));
    config.base_url = "http://127.0.0.1:1/proxy/".parse().unwrap();
    config.system = "Be brief.".into();
    let client = Anthropic::new(config, HttpClient::new(http)).unwrap();
    let messages = vec![Message::user("a"), Message::assistant("b"), Message::user("c")];
    for channel in [Channel::Voice, Channel::Chat] {
        let request = ModelRequest::new(messages.clone(), channel, UserId::owner());
        let _: Vec<_> = client.answer(request).collect().await;
    }
    let (head, body) = requests.recv().await.unwrap().into_parts();
    assert_eq!(head.uri, "http://127.0.0.1:1/proxy/v1/messages");
    assert_eq!(head.headers["x-api-key"], "key");
    assert!(head.headers["x-api-key"].is_sensitive());
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["thinking"], serde_json::json!({ "type": "disabled" }));
    assert_eq!((&body["stream"], body["system"].as_array().unwrap().len()), (&serde_json::json!(true), 2));
    assert!(body["system"][0].get("cache_control").is_none(), "one breakpoint after the whole prefix");
    assert_eq!(body["system"][1]["cache_control"]["type"], "ephemeral");
    assert_eq!(
        body["messages"][1],
        serde_json::json!({ "role": "assistant", "content": [{ "type": "text", "text": "b" }] })
    );
    assert_eq!(body["messages"][2]["content"][0]["cache_control"]["type"], "ephemeral");
    let chat = requests.recv().await.unwrap().into_body();
    let chat: serde_json::Value = serde_json::from_slice(&chat).unwrap();
    assert!(chat.get("thinking").is_none());
    assert_eq!(chat["system"].as_array().unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_cutting_of_the_stream_gives_the_same_answer(cuts in prop::collection::vec(1usize..40, 1..20)) {
        let (mut chunks, mut rest) = (Vec::new(), ANSWER.as_bytes());
        for cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            chunks.push(Bytes::copy_from_slice(chunk));
            rest = after;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let events = runtime.block_on(collect(&client(200, &[], chunks, true)));
        prop_assert_eq!(text_of(&events), "Grüß Gott 🙂");
        prop_assert!(matches!(events.last(), Some(Ok(ModelEvent::Finished(Finish::Complete)))));
    }
}

#[tokio::test]
async fn an_error_that_repeats_the_key_is_told_without_it() {
    let said = format!(r#"{{"type":"error","error":{{"type":"{KEY}","message":"no {KEY} here"}}}}"#);
    let refused = client(401, &[], vec![Bytes::from(said.clone())], false);
    let broken = client(200, &[], vec![Bytes::from(format!("data: {said}\n\n"))], false);
    for (client, what) in [(refused, "our key (401 …)"), (broken, "the request (400 …)")] {
        let error = collect(&client).await.pop().unwrap().unwrap_err();
        assert_eq!(error.to_string(), format!("the model's server refused {what}: no … here"));
    }
}
