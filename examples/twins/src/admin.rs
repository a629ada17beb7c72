//! The operator's door of every twin, for programs in another process: figures and faults.
//!
//! | route | what it does |
//! | --- | --- |
//! | `GET /twin/stats` | the twin's figures as JSON |
//! | `POST /twin/faults` | injects a fault, or refuses requests; the body is below |
//! | `DELETE /twin/faults` | forgets what has not happened yet |
//! | `POST /twin/kill` | cuts every connection; answers `{"killed": n}` |
//!
//! A fault: `{"fault": "drop" | "stall" | "half_message" | "garbage" | "garbage_message" | "slow" | "close", "target": "open" | "each" |
//! {"next": n}, "when": "now" | {"elapsed_ms": n} | {"between_ms": [a, b]} | {"sent": bytes} | {"received": bytes} | {"messages": n}}`, with
//! `bytes_per_second` for `slow`, `code` and `reason` for `close`. The target is `open` and the moment `now` where absent. A refusal:
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
