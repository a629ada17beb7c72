//! When a provider sends, and when it sends again: a value that is told the time and what was
//! answered, and a driver in real time.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures_util::stream::{self, FuturesUnordered, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tower::ServiceExt;
use tower_service::Service;

use super::{Account, Body, Event};

/// What goes wrong with one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mischief {
    /// One bit of the body is another than was signed.
    WrongSignature,
    /// The same signed bytes come again under another id, where the id stands in a header; else as
    /// they are.
    Replay,
    /// The header with the signature stands twice.
    TwiceSigned,
    /// It was signed this long ago.
    Old(Duration),
    /// It was signed this far in the future.
    Early(Duration),
    /// The body comes byte by byte, with this pause between them.
    SlowBody(Duration),
    /// The answers to the first attempts do not arrive: the provider sends again what was taken.
    LostAnswers(u32),
}

/// One request that is due.
#[derive(Debug)]
pub struct Attempt {
    /// Which delivery it is of.
    pub delivery: usize,
    /// Its number, from 1.
    pub number: u32,
    /// The request.
    pub request: Request<Body>,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A status, and when to come again where it said so.
    Answered(StatusCode, Option<Duration>),
    /// Nothing in time.
    TimedOut,
}

impl Outcome {
    /// What a response says.
    pub fn of<B>(response: &Response<B>) -> Self {
        let after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self::Answered(response.status(), after.map(Duration::from_secs))
    }
}

/// What became of the deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Requests.
    pub attempts: u64,
    /// Deliveries that were taken.
    pub taken: u64,
    /// Deliveries that were given up.
    pub given_up: u64,
}

#[derive(Debug)]
struct Delivery {
    event: Event,
    mischief: Option<Mischief>,
    first_at: Duration,
    number: u32,
}

/// The deliveries of one provider to one endpoint. Time is counted from 1970.
#[derive(Debug)]
pub struct Sender {
    account: Account,
    deliveries: Vec<Delivery>,
    due: BTreeMap<(Duration, usize), ()>,
    report: Report,
}

impl Sender {
    /// Nothing to send yet.
    pub fn new(account: Account) -> Self {
        Self { account, deliveries: Vec::new(), due: BTreeMap::new(), report: Report::default() }
    }

    /// Something happens at this time. Answers the number of the delivery.
    pub fn deliver(&mut self, at: Duration, event: Event, mischief: Option<Mischief>) -> usize {
        let delivery = self.deliveries.len();
        self.deliveries.push(Delivery { event, mischief, first_at: at, number: 0 });
        self.due.insert((at, delivery), ());
        delivery
    }

    /// When the next request is due.
    pub fn due(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), ())| *at)
    }

    /// A request that is due; each wants [`Sender::answered`].
    pub fn poll(&mut self, now: Duration) -> Option<Attempt> {
        let (at, delivery) = self.due.first_key_value().map(|(key, ())| *key).filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, delivery));
        self.report.attempts += 1;
        let entry = &mut self.deliveries[delivery];
        entry.number += 1;
        let (number, entry) = (entry.number, &self.deliveries[delivery]);
        Some(Attempt { delivery, number, request: self.request(entry, now) })
    }

    fn request(&self, delivery: &Delivery, now: Duration) -> Request<Body> {
        let signed_at = match delivery.mischief {
            Some(Mischief::Old(age)) => now.saturating_sub(age),
            Some(Mischief::Early(ahead)) => now + ahead,
            _ => now,
        };
        let request = self.account.request(&delivery.event, signed_at);
        match &delivery.mischief {
            Some(Mischief::WrongSignature) => tampered(request),
            Some(Mischief::Replay) => {
                let mut request = request;
                renamed(request.headers_mut());
                request
            }
            Some(Mischief::TwiceSigned) => {
                let mut request = request;
                let signature = request.headers().iter().find(|(name, _)| proves(name));
                if let Some((name, value)) = signature.map(|(name, value)| (name.clone(), value.clone())) {
                    request.headers_mut().append(name, value);
                }
                request
            }
            Some(Mischief::SlowBody(pause)) => slow(request, *pause),
            _ => request,
        }
    }

    /// What came of an attempt.
    pub fn answered(&mut self, now: Duration, delivery: usize, outcome: Outcome) {
        let provider = self.account.provider;
        let entry = &self.deliveries[delivery];
        let lost =
            matches!(entry.mischief, Some(Mischief::LostAnswers(attempts)) if entry.number <= attempts);
        let mut least = Duration::ZERO;
        match outcome {
            Outcome::Answered(status, _) if provider.takes(status) && !lost => {
                self.report.taken += 1;
                return;
            }
            Outcome::Answered(_, Some(after)) if provider.honours_retry_after() => least = after,
            _ => {}
        }
        match provider.wait(entry.number, now.saturating_sub(entry.first_at)) {
            Some(wait) => drop(self.due.insert((now + wait.max(least), delivery), ())),
            None => self.report.given_up += 1,
        }
    }

    /// What became of the deliveries so far.
    pub fn report(&self) -> Report {
        self.report
    }
}

/// Whether this header is what proves a delivery.
fn proves(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.contains("signature") && !name.contains("timestamp")
        || name.contains("hmac")
        || name.ends_with("token") && !name.starts_with("i-")
        || name == "authorization"
}

/// Gives a request another id, where that is in a header.
fn renamed(headers: &mut HeaderMap) {
    let ids = ["x-github-delivery", "x-shopify-webhook-id", "linear-delivery", "i-twilio-idempotency-token"];
    for name in ids {
        if headers.contains_key(name) {
            headers.insert(name, HeaderValue::from_static("00000000-0000-4000-8000-000000000000"));
        }
    }
}

/// With one bit of the body or, where that is covered by nothing, of the proof itself turned.
fn tampered(request: Request<Body>) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    let shared = ["x-telegram-bot-api-secret-token", "x-gitlab-token", "authorization"];
    if let Some(name) = shared.iter().find(|name| head.headers.contains_key(**name)) {
        let value = head.headers.get(*name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // The middle of a token: its end may have bits that say nothing.
        let (first, second) = value.split_at(value.len().saturating_sub(20));
        let turned = if second.starts_with('a') { "b" } else { "a" };
        let turned = format!("{first}{turned}{}", second.get(1..).unwrap_or_default());
        if let Ok(value) = HeaderValue::from_str(&turned) {
            head.headers.insert(*name, value);
        }
        return Request::from_parts(head, body);
    }
    let body = body.map_frame(|frame| {
        frame.map_data(|data| {
            let mut bytes = data.to_vec();
            let middle = bytes.len() / 2;
            if let Some(byte) = bytes.get_mut(middle) {
                *byte ^= 1;
            }
            Bytes::from(bytes)
        })
    });
    Request::from_parts(head, body.boxed_unsync())
}

/// Byte by byte.
fn slow(request: Request<Body>, pause: Duration) -> Request<Body> {
    request.map(|body| {
        let chunks =
            stream::once(async move { body.collect().await.map(http_body_util::Collected::to_bytes) });
        let bytes = chunks.flat_map(|whole| {
            let whole = whole.unwrap_or_else(|never| match never {});
            stream::iter((0..whole.len()).map(move |n| whole.slice(n..=n)))
        });
        let slow = bytes.then(move |byte| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(byte))
        });
        StreamBody::new(slow).boxed_unsync()
    })
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Sends everything in real time, at most `at_once` requests side by side, until each delivery is
/// taken or given up.
pub async fn run<S, B>(mut sender: Sender, service: S, at_once: usize) -> Report
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
{
    let mut under_way = FuturesUnordered::new();
    loop {
        let attempt = if under_way.len() < at_once { sender.poll(now()) } else { None };
        if let Some(Attempt { delivery, request, .. }) = attempt {
            let (service, timeout) = (service.clone(), sender.account.provider.timeout());
            under_way.push(async move {
                match tokio::time::timeout(timeout, service.oneshot(request)).await {
                    Ok(Ok(response)) => (delivery, Outcome::of(&response)),
                    _ => (delivery, Outcome::TimedOut),
                }
            });
            continue;
        }
        let wait = sender.due().map(|due| due.saturating_sub(now()));
        tokio::select! {
            Some((delivery, outcome)) = under_way.next() => sender.answered(now(), delivery, outcome),
            () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() && under_way.len() < at_once => {}
            else => return sender.report(),
        }
    }
}
