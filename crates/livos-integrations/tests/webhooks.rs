//! The whole way from a provider's request to a job, against the sender that signs for all of them.

#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Enqueued, Intake as _, JobKind, QueueConfig, Work},
    secret::Secret,
    time::{Clock, ManualClock, Timestamp},
};
use livos_integrations::webhook::{
    self, Body, Delivery, GitHub, Intake, LimitConfig, Received, Source, SourceLimitLayer, Stripe, Svix,
    Verified, VerifyConfig, VerifyLayer,
};
use livos_twins::webhooks::{Account, Mischief, Outcome, Provider, Sender};
use tower::{Layer, Service, ServiceExt};

const NOW: Duration = Duration::from_secs(1_800_000_000);
const URL: &str = "https://agent.example/hook";

/// A clock that tests set, shared with the services.
#[derive(Clone)]
struct Shared(Arc<ManualClock>);

impl Shared {
    fn new() -> Self {
        Self(Arc::new(ManualClock::new(Timestamp::default().plus(NOW))))
    }

    fn set(&self, time: Duration) {
        self.0.set(Timestamp::default().plus(time));
    }
}

impl Clock for Shared {
    fn now(&self) -> Timestamp {
        self.0.now()
    }
}

fn queue(refuse_at: u64) -> Arc<EmbeddedQueue> {
    let mut config = QueueConfig::default();
    config.refuse_at = refuse_at;
    Arc::new(EmbeddedQueue::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap(), config))
}

fn kind() -> JobKind {
    "webhook.test".try_into().unwrap()
}

fn github() -> Account {
    Account::new(Provider::GitHub, URL, 1)
}

fn github_verifier() -> Arc<GitHub> {
    Arc::new(GitHub::new([Secret::new(github().credential())]).unwrap())
}

fn github_intake(queue: &Arc<EmbeddedQueue>) -> Intake<Shared> {
    webhook::intake(github_verifier(), Arc::<EmbeddedQueue>::clone(queue), kind(), Shared::new())
}

fn request(n: u64, mischief: Option<Mischief>) -> Request<livos_twins::webhooks::Body> {
    let mut sender = Sender::new(github());
    sender.deliver(NOW, github().event(n), mischief);
    sender.poll(NOW).unwrap().request
}

async fn jobs(queue: &EmbeddedQueue) -> u64 {
    queue.depth().await.unwrap().total()
}

async fn status<S, B>(service: &S, request: Request<B>) -> u16
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone,
{
    service.clone().oneshot(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_delivery_is_one_job_however_often_and_under_whichever_id_it_comes() {
    let queue = queue(500);
    let intake = github_intake(&queue);
    for mischief in [None, None, Some(Mischief::Replay)] {
        assert_eq!(status(&intake, request(1, mischief)).await, 200);
    }
    assert_eq!(jobs(&queue).await, 1);
    let lease =
        queue.lease(Timestamp::default().plus(NOW), &[], Duration::from_secs(60)).await.unwrap().unwrap();
    let received = Received::from_payload(&lease.payload).unwrap();
    assert_eq!((received.provider.as_str(), received.event.as_deref()), ("github", Some("issues")));
    assert_eq!((&received.id, &received.body), (&github().event(1).id, &github().event(1).body));
}

#[tokio::test]
async fn what_is_not_verified_becomes_no_job() {
    let queue = queue(500);
    let intake = github_intake(&queue);
    assert_eq!(status(&intake, request(1, Some(Mischief::WrongSignature))).await, 401);
    assert_eq!(status(&intake, request(1, Some(Mischief::TwiceSigned))).await, 400);
    assert_eq!(status(&intake, Request::post("/").body(Empty::<Bytes>::new()).unwrap()).await, 400);
    let mut get = request(1, None);
    *get.method_mut() = Method::GET;
    assert_eq!(status(&intake, get).await, 405);
    let mut packed = request(1, None);
    packed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    assert_eq!(status(&intake, packed).await, 415);
    assert_eq!(jobs(&queue).await, 0);
}

#[tokio::test]
async fn a_full_queue_answers_503_and_takes_the_same_delivery_later() {
    let queue = queue(1);
    let intake = github_intake(&queue);
    assert_eq!(status(&intake, request(1, None)).await, 200);
    let full = intake.clone().oneshot(request(2, None)).await.unwrap();
    assert_eq!((full.status().as_u16(), &full.headers()[RETRY_AFTER]), (503, &"30".parse().unwrap()));
    assert_eq!(
        status(&intake, request(1, None)).await,
        200,
        "what is in the queue already is a duplicate, not a refusal"
    );
    let now = Timestamp::default().plus(NOW);
    let lease = queue.lease(now, &[], Duration::from_secs(60)).await.unwrap().unwrap();
    queue.ack(now, lease).await.unwrap();
    assert_eq!(status(&intake, request(2, None)).await, 200);
    assert_eq!(jobs(&queue).await, 1);
}

/// A body that counts what was read of it.
fn counted(
    chunks: usize,
    size: usize,
    read: &Arc<Mutex<usize>>,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + use<> {
    let (chunk, read) = (Bytes::from(vec![b'x'; size]), Arc::clone(read));
    StreamBody::new(stream::iter((0..chunks).map(move |_| {
        *read.lock().unwrap() += 1;
        Ok(Frame::data(chunk.clone()))
    })))
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read_to_its_end() {
    let intake = github_intake(&queue(500));
    let read = Arc::new(Mutex::new(0));
    let (head, _) = request(1, None).into_parts();
    let long = Request::from_parts(head, counted(100_000, 64 * 1024, &read));
    assert_eq!(status(&intake, long).await, 413);
    assert!(*read.lock().unwrap() <= 16, "a chunk beyond the bound at the most");
    // What says how long it is is not read at all.
    let (mut head, _) = request(1, None).into_parts();
    head.headers.insert("content-length", "2000000".parse().unwrap());
    *read.lock().unwrap() = 0;
    assert_eq!(status(&intake, Request::from_parts(head, counted(100, 64, &read))).await, 413);
    // Nor is anything whose head proves nothing.
    assert_eq!(status(&intake, Request::post("/").body(counted(100, 64, &read)).unwrap()).await, 400);
    assert_eq!(*read.lock().unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_given_up() {
    let intake = github_intake(&queue(500));
    let started = tokio::time::Instant::now();
    let dripping = request(1, Some(Mischief::SlowBody(Duration::from_secs(3))));
    assert_eq!(status(&intake, dripping).await, 408);
    assert_eq!(started.elapsed(), Duration::from_secs(10));
}

/// Takes every delivery, and keeps nothing.
#[derive(Clone)]
struct Sink;

impl Service<Verified<Delivery>> for Sink {
    type Response = Enqueued;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Enqueued, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Verified<Delivery>) -> Self::Future {
        std::future::ready(Ok(Enqueued::Spilled))
    }
}

type Limited = webhook::SourceLimit<webhook::Verify<Sink, Shared>>;

fn limited(config: &LimitConfig) -> Limited {
    let verify = VerifyLayer::new(github_verifier(), Shared::new(), VerifyConfig::default());
    SourceLimitLayer::new(config).layer(verify.layer(Sink))
}

fn from(
    address: &str,
    mut request: Request<livos_twins::webhooks::Body>,
) -> Request<livos_twins::webhooks::Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(Source(address));
    request
}

#[tokio::test(start_paused = true)]
async fn a_source_that_proves_nothing_is_limited_and_nobody_else_is() {
    let service = limited(&LimitConfig::default());
    let wrong = || from("192.0.2.1", request(1, Some(Mischief::WrongSignature)));
    for _ in 0..30 {
        assert_eq!(status(&service, wrong()).await, 401);
    }
    let limited = service.clone().oneshot(wrong()).await.unwrap();
    assert_eq!((limited.status().as_u16(), &limited.headers()[RETRY_AFTER]), (429, &"2".parse().unwrap()));
    assert_eq!(status(&service, from("192.0.2.2", request(1, None))).await, 200);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(status(&service, wrong()).await, 401);
    assert_eq!(status(&service, wrong()).await, 429);
}

/// A body that comes in chunks of `size` bytes, 100 ms apart, and counts the bytes that were read.
fn slowly(
    body: Bytes,
    size: usize,
    read: &Arc<Mutex<usize>>,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + use<> {
    let read = Arc::clone(read);
    StreamBody::new(Box::pin(stream::unfold(body, move |mut rest| {
        let read = Arc::clone(&read);
        async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            let chunk = rest.split_to(size.min(rest.len()));
            *read.lock().unwrap() += chunk.len();
            Some((Ok(Frame::data(chunk)), rest))
        }
    })))
}

async fn exhaust(service: &Limited, address: &str) {
    while status(service, from(address, request(1, Some(Mischief::WrongSignature)))).await != 429 {}
}

/// A request from this address whose body comes slowly; a forged one if it has another body.
async fn slow_request(
    address: &str,
    forged: Option<usize>,
    read: &Arc<Mutex<usize>>,
) -> Request<impl http_body::Body<Data = Bytes, Error = Infallible> + use<>> {
    let (head, body) = from(address, request(1, None)).into_parts();
    let own = body.collect().await.unwrap().to_bytes();
    let body = match forged {
        Some(length) => slowly(Bytes::from(vec![b'x'; length]), 64 * 1024, read),
        None => slowly(own.clone(), own.len().div_ceil(4), read),
    };
    Request::from_parts(head, body)
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_forgeries_from_the_same_address_locks_no_correct_sender_out() {
    let service = limited(&LimitConfig::default());
    let (mut unauthorized, mut limited) = (Vec::new(), 0);
    for n in 0..1000 {
        let forged = from("192.0.2.1", request(n, Some(Mischief::WrongSignature)));
        let answer = service.clone().oneshot(forged).await.unwrap();
        match answer.status().as_u16() {
            401 => unauthorized.push(n),
            429 => {
                let wait: u64 = answer.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
                assert!((1..=2).contains(&wait), "{wait}");
                limited += 1;
            }
            other => panic!("{other}"),
        }
        let correct = from("192.0.2.1", request(n, None));
        assert_eq!(status(&service, correct).await, 200, "after {n} forgeries");
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    assert!(unauthorized[..30].iter().copied().eq(0..30), "{unauthorized:?}");
    // One failure every two seconds of the 100.
    assert!((75..=85).contains(&unauthorized.len()), "{}", unauthorized.len());
    assert_eq!(unauthorized.len() + limited, 1000);
}

#[tokio::test]
async fn nothing_is_read_of_a_source_over_its_limit_whose_head_is_not_the_providers() {
    let service = limited(&LimitConfig::default());
    let read = Arc::new(Mutex::new(0));
    let empty_head = || {
        let mut request = Request::post("/").body(counted(100, 64, &read)).unwrap();
        request.extensions_mut().insert(Source("192.0.2.1".parse().unwrap()));
        request
    };
    for _ in 0..30 {
        assert_eq!(status(&service, empty_head()).await, 400);
    }
    assert_eq!(status(&service, empty_head()).await, 429);
    assert_eq!(*read.lock().unwrap(), 0);
    assert_eq!(status(&service, from("192.0.2.1", request(1, None))).await, 200);
}

#[tokio::test]
async fn each_endpoint_has_a_limit_of_its_own() {
    let verify = VerifyLayer::new(github_verifier(), Shared::new(), VerifyConfig::default());
    let layer = SourceLimitLayer::default();
    let (one, other) = (layer.layer(verify.layer(Sink)), layer.layer(verify.layer(Sink)));
    exhaust(&one, "192.0.2.1").await;
    let wrong = || from("192.0.2.1", request(1, Some(Mischief::WrongSignature)));
    assert_eq!((status(&one, wrong()).await, status(&other, wrong()).await), (429, 401));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_large_bodies_is_not_read_beyond_the_reserve() {
    let service = limited(&LimitConfig::default().with_reserve(4));
    exhaust(&service, "192.0.2.1").await;
    let read = Arc::new(Mutex::new(0));
    let mut flood = Vec::new();
    for _ in 0..200 {
        let request = slow_request("192.0.2.1", Some(640 * 1024), &read).await;
        flood.push(tokio::spawn(service.clone().oneshot(request)));
    }
    tokio::time::sleep(Duration::from_millis(350)).await;
    assert_eq!(flood.iter().filter(|answer| !answer.is_finished()).count(), 4, "the others were given up");
    // What is there at once takes a place and needs it for a moment only.
    assert_eq!(status(&service, from("192.0.2.1", request(1, None))).await, 200);
    let slow_but_correct = slow_request("192.0.2.1", None, &Arc::default()).await;
    assert_eq!(status(&service, slow_but_correct).await, 200);
    for answer in flood {
        let answer = answer.await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 429);
        assert!(answer.headers().contains_key(RETRY_AFTER));
    }
    assert!(*read.lock().unwrap() <= 4 * 640 * 1024, "{}", *read.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_strangers_takes_no_place_from_a_source_that_was_verified_before() {
    let service = limited(&LimitConfig::default().with_reserve(4));
    assert_eq!(status(&service, from("192.0.2.1", request(1, None))).await, 200);
    exhaust(&service, "192.0.2.1").await;
    exhaust(&service, "192.0.2.2").await;
    let correct = slow_request("192.0.2.1", None, &Arc::default()).await;
    let correct = tokio::spawn(service.clone().oneshot(correct));
    for _ in 0..50 {
        let forged = slow_request("192.0.2.2", Some(640 * 1024), &Arc::default()).await;
        tokio::spawn(service.clone().oneshot(forged));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(correct.await.unwrap().unwrap().status().as_u16(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_is_verified_does_not_count_unless_one_wants_it() {
    let service = limited(&LimitConfig::default());
    for n in 0..100 {
        assert_eq!(status(&service, from("192.0.2.1", request(n, None))).await, 200);
    }
    let mut config = LimitConfig::default();
    config.count_verified = true;
    let service = limited(&config);
    let mut taken = 0;
    for n in 0..100 {
        taken += u32::from(status(&service, from("192.0.2.1", request(n, None))).await == 200);
    }
    assert_eq!(taken, 30);
}

/// Takes every delivery, some time.
#[derive(Clone)]
struct Slow;

impl Service<Verified<Delivery>> for Slow {
    type Response = Enqueued;
    type Error = Infallible;
    type Future = futures_util::future::BoxFuture<'static, Result<Enqueued, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Verified<Delivery>) -> Self::Future {
        Box::pin(async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            Ok(Enqueued::Spilled)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_one_provider_is_taken_although_the_queue_is_slow() {
    let verify = VerifyLayer::new(github_verifier(), Shared::new(), VerifyConfig::default());
    let service = SourceLimitLayer::default().layer(verify.layer(Slow));
    let burst = (0..200).map(|n| status(&service, from("192.0.2.1", request(n, None))));
    let statuses = futures_util::future::join_all(burst).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
}

#[tokio::test(start_paused = true)]
async fn what_comes_slowly_counts_while_it_comes() {
    let service = limited(&LimitConfig::default());
    let drip = || from("192.0.2.1", request(1, Some(Mischief::SlowBody(Duration::from_secs(1)))));
    let statuses = futures_util::future::join_all((0..40).map(|_| status(&service, drip()))).await;
    let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(408), count(429)), (30, 10));
}

/// One provider's storm against an agent that takes a second for each job: every answer to the
/// first five attempts is lost. Time is played event by event.
async fn storm(provider: Provider, deliveries: u64, over: Duration) -> (u64, u64, u64) {
    let (queue, clock, account) = (queue(2 * deliveries), Shared::new(), Account::new(provider, URL, 7));
    let secret = [Secret::new(account.credential())];
    let intake = match provider {
        Provider::Svix => webhook::intake(
            Arc::new(Svix::new(secret).unwrap()),
            Arc::<EmbeddedQueue>::clone(&queue),
            kind(),
            clock.clone(),
        ),
        _ => webhook::intake(
            Arc::new(Stripe::new(secret).unwrap()),
            Arc::<EmbeddedQueue>::clone(&queue),
            kind(),
            clock.clone(),
        ),
    };
    let mut sender = Sender::new(account.clone());
    for n in 0..deliveries {
        let at = NOW + over.mul_f64(n as f64 / deliveries as f64);
        sender.deliver(at, account.event(n), Some(Mischief::LostAnswers(5)));
    }
    let (mut worked_until, mut done, mut idle) = (NOW, Vec::new(), true);
    loop {
        let due = sender.due();
        // The agent is slow: it does one job a second, and begins the next only then.
        if !idle && due.is_none_or(|due| worked_until <= due) {
            let now = Timestamp::default().plus(worked_until);
            match queue.lease(now, &[], Duration::from_secs(60)).await.unwrap() {
                None => idle = true,
                Some(lease) => {
                    worked_until += Duration::from_secs(1);
                    done.push(Received::from_payload(&lease.payload).unwrap().id);
                    queue.ack(Timestamp::default().plus(worked_until), lease).await.unwrap();
                }
            }
            continue;
        }
        let Some(due) = due else { break };
        clock.set(due);
        (worked_until, idle) = (worked_until.max(due), false);
        // What is due at one time comes at one time.
        let mut at_once = Vec::new();
        while let Some(attempt) = sender.poll(due).filter(|_| at_once.len() < 512) {
            let answer = intake.clone().oneshot(attempt.request);
            at_once.push(async move { (attempt.delivery, Outcome::of(&answer.await.unwrap())) });
        }
        for (delivery, outcome) in futures_util::future::join_all(at_once).await {
            sender.answered(due, delivery, outcome);
        }
    }
    let report = sender.report();
    assert_eq!((report.taken, report.given_up), (deliveries, 0));
    let jobs = done.len() as u64;
    done.sort_unstable();
    done.dedup();
    (report.attempts, jobs, done.len() as u64)
}

#[tokio::test]
async fn a_storm_of_retries_makes_one_job_for_each_delivery() {
    let (attempts, jobs, different) = storm(Provider::Svix, 10_000, Duration::from_secs(60)).await;
    assert_eq!((attempts, jobs, different), (60_000, 10_000, 10_000));
}

#[tokio::test]
async fn a_provider_that_signs_each_retry_anew_makes_one_job_too() {
    let (attempts, jobs, different) = storm(Provider::Stripe, 500, Duration::from_secs(3600)).await;
    assert_eq!((attempts, jobs, different), (3_000, 500, 500));
}

#[tokio::test]
async fn answers_are_whole_and_say_their_length() {
    let intake = github_intake(&queue(500));
    let answer = intake.oneshot(request(1, None).map(|body| body)).await.unwrap();
    assert_eq!(http_body::Body::size_hint(answer.body()).exact(), Some(0));
    assert_eq!(answer.status(), StatusCode::OK);
    let full: Full<Bytes> = Full::new(answer.into_body().collect().await.unwrap().to_bytes());
    assert!(http_body::Body::is_end_stream(&full));
}
