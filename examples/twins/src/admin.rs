//! The operator's door of every twin, for programs in another process: figures and faults.
//!
//! | route | what it does |
//! | --- | --- |
//! | `GET /twin/stats` | the twin's figures as JSON |
//! | `POST /twin/faults` | injects a fault, or refuses requests; the body is below |
//! | `DELETE /twin/faults` | forgets what has not happened yet |
//! | `POST /twin/kill` | cuts every connection; answers `{"killed": n}` |
//! | `POST /twin/…` | what one provider does on order, as its own module says |
//!
//! A fault:
//! `{"fault": "drop" | "stall" | "half_message" | "garbage" | "garbage_message" | "slow" | "close", "target": "open" | "each" | {"next": n}, "when": "now" | {"elapsed_ms": n} | {"between_ms": [a, b]} | {"sent": bytes} | {"received": bytes} | {"messages": n}}`,
//! with `bytes_per_second` for `slow`, `code` and `reason` for `close`. The target is `open` and
//! the moment `now` where absent. A refusal:
//! `{"fault": "refuse", "count": n, "status": 429, "headers": {"retry-after": "1"}, "body": "..."}`.
//!
//! Connections that ask here are not counted among the provider's.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    fault::{Fault, Refusal, Target, When},
    serve::{self, Body, Twin},
};

/// The largest fault description.
const MAX_BODY: usize = 64 * 1024;

pub(crate) fn is_admin<B>(request: &Request<B>) -> bool {
    request.uri().path().starts_with("/twin/")
}

pub(crate) async fn answer<T: Twin>(twin: &T, request: Request<Incoming>) -> Response<Body> {
    let host = twin.host();
    let route = (request.method().clone(), request.uri().path().to_owned());
    match (route.0, route.1.as_str()) {
        (Method::GET, "/twin/stats") => serve::json(StatusCode::OK, &twin.figures()),
        (Method::POST, "/twin/kill") => {
            serve::json(StatusCode::OK, &json!({"killed": host.kill_connections()}))
        }
        (Method::DELETE, "/twin/faults") => {
            host.clear_faults();
            serve::json(StatusCode::OK, &json!({}))
        }
        (Method::POST, "/twin/faults") => {
            let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
            let described = body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
            match described.as_ref().and_then(parse) {
                Some(Order::Inject(target, fault)) => host.inject_into(target, fault),
                Some(Order::Refuse(count, refusal)) => host.refuse(count, refusal),
                None => {
                    let error = json!({"error": "not a fault; see the documentation of livos_twins::admin"});
                    return serve::json(StatusCode::BAD_REQUEST, &error);
                }
            }
            serve::json(StatusCode::OK, &json!({}))
        }
        (Method::POST, order) => {
            let order = order.trim_start_matches("/twin/").to_owned();
            let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
            let body =
                body.ok().and_then(|body| serde_json::from_slice(&body.to_bytes()).ok()).unwrap_or_default();
            match twin.order(&order, &body) {
                Some(done) => serve::json(StatusCode::OK, &done),
                None => serve::json(StatusCode::NOT_FOUND, &json!({"error": "no such order"})),
            }
        }
        _ => serve::json(StatusCode::NOT_FOUND, &json!({"error": "no such route"})),
    }
}

enum Order {
    Inject(Target, Fault),
    Refuse(u32, Refusal),
}

fn parse(described: &Value) -> Option<Order> {
    if described["fault"] == "refuse" {
        return Some(Order::Refuse(described["count"].as_u64().unwrap_or(1).try_into().ok()?, {
            let mut refusal = Refusal::status(described["status"].as_u64()?.try_into().ok()?);
            for (name, value) in described["headers"].as_object().into_iter().flatten() {
                refusal = refusal.header(name, value.as_str()?);
            }
            refusal.body = described["body"].as_str().map(str::to_owned);
            refusal
        }));
    }
    let target = match &described["target"] {
        Value::Null => Target::Open,
        Value::String(target) if target == "open" => Target::Open,
        Value::String(target) if target == "each" => Target::Each,
        target => Target::Next(target["next"].as_u64()?.try_into().ok()?),
    };
    let when = parse_when(&described["when"])?;
    let fault = match described["fault"].as_str()? {
        "drop" => Fault::Drop(when),
        "stall" => Fault::Stall(when),
        "half_message" => Fault::HalfMessage(when),
        "garbage" => Fault::Garbage(when),
        "garbage_message" => Fault::GarbageMessage(when),
        "slow" => {
            Fault::Slow { when, bytes_per_second: described["bytes_per_second"].as_u64()?.try_into().ok()? }
        }
        "close" => Fault::Close {
            when,
            code: described["code"].as_u64()?.try_into().ok()?,
            reason: described["reason"].as_str().unwrap_or_default().to_owned(),
        },
        _ => return None,
    };
    Some(Order::Inject(target, fault))
}

fn parse_when(described: &Value) -> Option<When> {
    if described.is_null() || described == "now" {
        return Some(When::Now);
    }
    let (name, value) = described.as_object()?.iter().next()?;
    Some(match name.as_str() {
        "elapsed_ms" => When::Elapsed(Duration::from_millis(value.as_u64()?)),
        "between_ms" => When::Between(
            Duration::from_millis(value[0].as_u64()?),
            Duration::from_millis(value[1].as_u64()?),
        ),
        "sent" => When::Sent(value.as_u64()?),
        "received" => When::Received(value.as_u64()?),
        "messages" => When::Messages(value.as_u64()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::oneshot,
    };

    use super::*;
    use crate::deepgram::{Config, Deepgram};

    async fn ask<I: AsyncRead + AsyncWrite + Unpin>(mut io: I, request: &str, body: &str) -> (u16, Value) {
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nhost: twin\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        io.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        io.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn twin() -> Deepgram {
        Deepgram::new(Config::default())
    }

    #[tokio::test(start_paused = true)]
    async fn figures_do_not_count_who_asks_for_them() {
        let twin = twin();
        for _ in 0..3 {
            let (status, figures) = ask(twin.connect(), "GET /twin/stats", "").await;
            assert_eq!(status, 200);
            assert_eq!((&figures["open_connections"], &figures["total_connections"]), (&json!(0), &json!(0)));
            assert_eq!(figures["billed_audio_seconds"], 0.0);
        }
        let (status, _) = ask(twin.connect(), "GET /v1/listen", "").await;
        assert_eq!(status, 401);
        let (_, figures) = ask(twin.connect(), "GET /twin/stats", "").await;
        assert_eq!((&figures["open_connections"], &figures["total_connections"]), (&json!(0), &json!(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_from_outside_meets_the_next_request_only() {
        let twin = twin();
        let refusal =
            r#"{"fault": "refuse", "status": 529, "headers": {"retry-after": "3"}, "body": "\"busy\""}"#;
        assert_eq!(ask(twin.connect(), "POST /twin/faults", refusal).await.0, 200);
        assert_eq!(ask(twin.connect(), "GET /v1/listen", "").await, (529, json!("busy")));
        assert_eq!(ask(twin.connect(), "GET /v1/listen", "").await.0, 401);
        ask(twin.connect(), "POST /twin/faults", refusal).await;
        ask(twin.connect(), "DELETE /twin/faults", "").await;
        assert_eq!(ask(twin.connect(), "GET /v1/listen", "").await.0, 401);
    }

    #[tokio::test(start_paused = true)]
    async fn a_fault_from_outside_meets_the_connections_it_names() {
        let twin = twin();
        let fault = r#"{"fault": "drop", "target": {"next": 1}, "when": {"elapsed_ms": 100}}"#;
        assert_eq!(ask(twin.connect(), "POST /twin/faults", fault).await.0, 200);
        let mut dropped = twin.connect();
        let mut spared = twin.connect();
        assert_eq!(dropped.read(&mut [0]).await.unwrap(), 0);
        let waiting = tokio::time::timeout(Duration::from_secs(60), spared.read(&mut [0])).await;
        assert!(waiting.is_err());
        assert_eq!(ask(twin.connect(), "POST /twin/kill", "").await, (200, json!({"killed": 1})));
        assert_eq!(spared.read(&mut [0]).await.unwrap(), 0);
    }

    #[test]
    fn every_fault_can_be_described_and_nonsense_is_refused() {
        let whens = ["\"now\"", r#"{"elapsed_ms": 5}"#, r#"{"between_ms": [1, 2]}"#, r#"{"sent": 9}"#];
        let more = [r#"{"received": 9}"#, r#"{"messages": 1}"#];
        for when in whens.into_iter().chain(more) {
            for fault in ["drop", "stall", "half_message", "garbage", "garbage_message", "slow", "close"] {
                let described = format!(
                    r#"{{"fault": "{fault}", "target": "each", "when": {when}, "bytes_per_second": 9, "code": 1011}}"#
                );
                assert!(parse(&serde_json::from_str(&described).unwrap()).is_some(), "{described}");
            }
        }
        for nonsense in [
            json!({}),
            json!({"fault": "fire"}),
            json!({"fault": "drop", "target": "some"}),
            json!({"fault": "drop", "when": "later"}),
            json!({"fault": "slow"}),
            json!({"fault": "refuse"}),
        ] {
            assert!(parse(&nonsense).is_none(), "{nonsense}");
        }
    }

    // Over a real socket, so without paused time.
    #[tokio::test]
    async fn a_listener_serves_until_its_shutdown_and_then_cuts_everything() {
        let twin = twin();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(serve::listen(listener, twin.clone(), async {
            let _ = stopped.await;
        }));
        let (status, _) = ask(TcpStream::connect(address).await.unwrap(), "GET /twin/stats", "").await;
        assert_eq!(status, 200);
        let mut open = TcpStream::connect(address).await.unwrap();
        open.write_all(b"GET ").await.unwrap();
        while twin.stats().open_connections == 0 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        serving.await.unwrap();
        assert!(matches!(open.read(&mut [0]).await, Ok(0) | Err(_)));
        while twin.stats().open_connections != 0 {
            tokio::task::yield_now().await;
        }
        assert!(TcpStream::connect(address).await.is_err());
    }
}
