//! A whole answer of a model whose server may say anything.
#![no_main]

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use libfuzzer_sys::fuzz_target;
use livos_agent::{
    message::Message,
    model::{
        Model, ModelEvent, ModelRequest,
        anthropic::{Anthropic, AnthropicConfig},
    },
};
use livos_core::{conversation::Channel, http::HttpClient, secret::Secret, user::UserId};
use livos_fuzz::peer;
use tower::service_fn;

const KEY: &str = "sk-ant-api03-the-key";

fuzz_target!(|data: &[u8]| {
    let [how, cut, body @ ..] = data else { return };
    let status = [200, 200, 200, 200, 400, 429, 500, 529][usize::from(how % 8)];
    let chunks: Vec<Bytes> = body.chunks(usize::from(*cut).max(1)).map(Bytes::copy_from_slice).collect();
    peer::run(async {
        let server = service_fn(move |_: Request<Bytes>| {
            let frames = stream::iter(chunks.clone()).map(|chunk| Ok::<_, Infallible>(Frame::data(chunk)));
            let mut response = Response::new(StreamBody::new(frames));
            *response.status_mut() = status.try_into().expect("a status");
            async move { Ok::<_, Infallible>(response) }
        });
        let client =
            Anthropic::new(AnthropicConfig::new(Secret::new(KEY)), HttpClient::new(server)).expect("valid");
        let request = ModelRequest::new(vec![Message::user("hello")], Channel::Voice, UserId::owner());
        let events: Vec<_> = client.answer(request).collect().await;
        let last = events.last().expect("an answer ends with its end or with an error");
        assert!(matches!(last, Err(_) | Ok(ModelEvent::Finished(_))), "{last:?}");
        let ends = events.iter().filter(|event| matches!(event, Err(_) | Ok(ModelEvent::Finished(_))));
        assert_eq!(ends.count(), 1);
        let said = last.as_ref().err().map(ToString::to_string).unwrap_or_default();
        assert!(!said.contains(KEY) && said.len() < 2000, "{said}");
    });
});
