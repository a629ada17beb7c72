//! What it costs to verify a delivery of 1 KiB, for each provider, compared with the public crates
//! that can verify the same one; and to refuse one.
//!
//! All get the same request and the same secret in one run. `livos` also reads the id and makes the
//! delivery of it; the others answer yes or no.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::{hint::black_box, net::IpAddr, sync::Arc, time::SystemTime};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::FutureExt;
use http::{Request, Response, request::Parts};
use http_body_util::{BodyExt, Full};
use livos_core::{
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, JobKind, QueueConfig},
    secret::Secret,
    time::{Clock, SystemClock},
};
use livos_integrations::webhook::{
    self, Discord, GitHub, GitLab, Linear, PubSub, PubSubConfig, Shopify, Slack, Source, StandardWebhooks,
    Stripe, Svix, Telegram, Twilio, Verifier,
    jwks::{Jwks, JwksConfig},
};
use livos_twins::webhooks::{Account, Event, Provider, jwks};
use tokio::runtime::Runtime;
use tower::ServiceExt;
use webhook_verify::{Provider as Theirs, VerifyOptions};

const URL: &str = "https://agent.example/hook";
const SIZE: usize = 1024;

/// One request of this provider with a body of [`SIZE`] bytes.
fn request(account: &Account, runtime: &Runtime) -> (Parts, Bytes) {
    let pad = |start: &str, end: &str| {
        let pad = "x".repeat(SIZE - start.len() - end.len());
        Bytes::from(format!("{start}{pad}{end}"))
    };
    let body = match account.provider {
        Provider::Twilio => pad("MessageSid=SM1&Body=", ""),
        // Its twin adds the time to the body.
        Provider::Linear => Bytes::from(format!("{{\"pad\":\"{}\"}}", "x".repeat(SIZE - 47))),
        Provider::PubSub => {
            pad("{\"subscription\":\"s\",\"message\":{\"messageId\":\"1\",\"data\":\"", "\"}}")
        }
        Provider::DiscordInteractions => pad("{\"id\":\"1\",\"type\":2,\"pad\":\"", "\"}"),
        _ => pad("{\"id\":\"1\",\"type\":\"x\",\"event_id\":\"1\",\"update_id\":1,\"pad\":\"", "\"}"),
    };
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let (head, body) = account.request(&Event { id: "id-1".into(), body }, now).into_parts();
    (head, runtime.block_on(body.collect()).unwrap().to_bytes())
}

fn verifier(account: &Account, runtime: &Runtime) -> Arc<dyn Verifier> {
    let (credential, secrets) = (account.credential(), [Secret::new(account.credential())]);
    match account.provider {
        Provider::GitHub => Arc::new(GitHub::new(secrets).unwrap()),
        Provider::Stripe => Arc::new(Stripe::new(secrets).unwrap()),
        Provider::Standard | Provider::StandardEd25519 => Arc::new(StandardWebhooks::new(secrets).unwrap()),
        Provider::Svix => Arc::new(Svix::new(secrets).unwrap()),
        Provider::Slack => Arc::new(Slack::new(secrets).unwrap()),
        Provider::DiscordInteractions => Arc::new(Discord::interactions([credential]).unwrap()),
        Provider::DiscordEvents => Arc::new(Discord::events([credential]).unwrap()),
        Provider::Twilio | Provider::TwilioJson => Arc::new(Twilio::new(secrets, URL).unwrap()),
        Provider::Shopify => Arc::new(Shopify::new(secrets).unwrap()),
        Provider::GitLab => Arc::new(GitLab::signed(secrets).unwrap()),
        Provider::GitLabToken => Arc::new(GitLab::token(secrets).unwrap()),
        Provider::Linear => Arc::new(Linear::new(secrets).unwrap()),
        Provider::Telegram => Arc::new(Telegram::new(secrets).unwrap()),
        Provider::PubSub => {
            let document = Bytes::from(jwks(&[0]).to_string());
            let server = tower::service_fn(move |_: Request<Full<Bytes>>| {
                let document = document.clone();
                async move { Ok::<_, std::convert::Infallible>(Response::new(Full::new(document))) }
            });
            let keys = Jwks::new(JwksConfig::default(), livos_core::http::HttpClient::new(server));
            runtime.block_on(keys.prepare(SystemClock.now(), "test-key-1".into()));
            Arc::new(PubSub::new(PubSubConfig::new(URL, account.email()), keys).unwrap())
        }
    }
}

/// The same provider in `webhook-verify`, where it has it.
fn theirs(provider: Provider) -> Option<Theirs> {
    Some(match provider {
        Provider::GitHub => Theirs::GitHub,
        Provider::Stripe => Theirs::Stripe,
        Provider::Standard => Theirs::StandardWebhooks,
        Provider::Slack => Theirs::Slack,
        Provider::DiscordInteractions => Theirs::Discord,
        Provider::Twilio => Theirs::Twilio,
        Provider::Shopify => Theirs::Shopify,
        Provider::Linear => Theirs::Linear,
        _ => return None,
    })
}

fn verify(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for provider in Provider::ALL {
        let account = Account::new(provider, URL, 1);
        let (head, body) = request(&account, &runtime);
        let (ours, now) = (verifier(&account, &runtime), SystemClock.now());
        let mut group = c.benchmark_group(format!("verify 1 KiB, {}", provider.name()));
        group.throughput(Throughput::Elements(1));
        group.bench_function("livos", |b| {
            b.iter(|| {
                black_box(&ours)
                    .verify(now, black_box(&head), black_box(body.clone()))
                    .now_or_never()
                    .unwrap()
                    .unwrap()
            });
        });
        if let Some(theirs) = theirs(provider) {
            let secret = webhook_verify::Secret::new(account.credential());
            let form: Vec<(String, String)> = form_urlencoded::parse(&body).into_owned().collect();
            let options = || match provider {
                Provider::Twilio => {
                    VerifyOptions::default().with_request_url(URL).with_form_params(form.clone())
                }
                _ => VerifyOptions::default(),
            };
            let check = || {
                webhook_verify::verify(theirs, black_box(&head.headers), black_box(&body), &secret, options())
            };
            // What refuses the request is not compared.
            match check() {
                Ok(()) => drop(group.bench_function("webhook-verify", |b| b.iter(|| check().unwrap()))),
                Err(error) => println!("webhook-verify refuses {}: {error}", provider.name()),
            }
        }
        if provider == Provider::Standard {
            let theirs = standardwebhooks::Webhook::new(&account.credential()).unwrap();
            group.bench_function("standardwebhooks", |b| {
                b.iter(|| theirs.verify(black_box(&body), black_box(&head.headers)).unwrap());
            });
        }
        group.finish();
    }
}

/// Through the whole service: what a stranger costs, by how far he comes.
fn refuse(c: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let account = Account::new(Provider::GitHub, URL, 1);
    let queue =
        EmbeddedQueue::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap(), QueueConfig::default());
    let kind = JobKind::try_from("webhook.bench").unwrap();
    let service = webhook::intake(verifier(&account, &runtime), Arc::new(queue), kind, SystemClock);
    let (head, body) = request(&Account::new(Provider::GitHub, URL, 2), &runtime);
    let mut source = 0u32;
    let mut group = c.benchmark_group("refuse");
    group.throughput(Throughput::Elements(1));
    for (name, limited, signed) in
        [("no signature", false, false), ("wrong signature", false, true), ("limited source", true, true)]
    {
        group.bench_function(name, |b| {
            b.iter_batched(
                || {
                    let mut request = Request::post(URL).body(Full::new(body.clone())).unwrap();
                    if signed {
                        *request.headers_mut() = head.headers.clone();
                    }
                    // A flood from everywhere: each request is another source's first.
                    source = if limited { 1 } else { source.wrapping_add(1) };
                    request.extensions_mut().insert(Source(IpAddr::V4((source | 0x0a00_0000).into())));
                    (service.clone(), request)
                },
                |(service, request)| runtime.block_on(service.oneshot(request)).unwrap(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, verify, refuse);
criterion_main!(benches);
