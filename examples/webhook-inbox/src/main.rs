//! Verified webhooks in a durable inbox: each delivery becomes one job, however often it is sent,
//! and the agent works on it in its own time.
//!
//! `cargo run -p webhook-inbox` lets simulated providers send to it, with forged and repeated
//! deliveries among the others. `cargo run -p webhook-inbox -- 127.0.0.1:8080 SECRET inbox.redb`
//! takes GitHub's at `/hooks/github` and Stripe's at `/hooks/stripe`, signed with that secret, and
//! keeps them in that file.

#![allow(clippy::print_stdout)] // What it prints is what it is for.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::SystemTime};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    middleware::{self, Next},
    response::Response,
};
use livos_core::{
    drain::Drain,
    embedded::{Embedded, EmbeddedConfig},
    queue::{EmbeddedQueue, Job, JobKind, Outcome, Queue, QueueConfig, Worker, WorkerConfig},
    secret::Secret,
    time::SystemClock,
};
use livos_integrations::webhook::{GitHub, Received, Source, Stripe, Verifier, intake};
use livos_twins::webhooks::{self, Account, Mischief, Provider, Sender};
use tower::BoxError;

/// The routes: one for each provider.
fn app(queue: &Arc<dyn Queue>, providers: Vec<Arc<dyn Verifier>>) -> Result<Router, BoxError> {
    let mut router = Router::new();
    for verifier in providers {
        let name = verifier.policy().provider.into_owned();
        let kind = JobKind::try_from(format!("webhook.{name}"))?;
        let intake = intake(verifier, Arc::clone(queue), kind, SystemClock);
        router = router.route_service(&format!("/hooks/{name}"), intake);
    }
    Ok(router.layer(middleware::from_fn(name_source)))
}

/// Tells the limit who sends. Behind a proxy this would read what the proxy says.
async fn name_source(mut request: Request, next: Next) -> Response {
    if let Some(ConnectInfo(peer)) = request.extensions().get::<ConnectInfo<SocketAddr>>().copied() {
        request.extensions_mut().insert(Source(peer.ip()));
    }
    next.run(request).await
}

/// The agent. Whatever a delivery says, it is text from outside.
async fn work(lease: Job) -> Result<Outcome, Infallible> {
    Ok(match Received::from_payload(&lease.payload) {
        Ok(delivery) => {
            let event = delivery.event.as_deref().unwrap_or("something");
            println!(
                "{} says {event} happened ({}, {} bytes)",
                delivery.provider,
                delivery.id,
                delivery.body.len()
            );
            Outcome::Done
        }
        Err(error) => Outcome::Dead { reason: error.to_string() },
    })
}

fn providers(github: Secret, stripe: Secret) -> Result<Vec<Arc<dyn Verifier>>, BoxError> {
    Ok(vec![Arc::new(GitHub::new([github])?), Arc::new(Stripe::new([stripe])?)])
}

/// Lets the twin's GitHub and Stripe send three events each, some of them with mischief.
async fn simulate(app: Router, accounts: [Account; 2]) -> Vec<webhooks::Report> {
    let mut reports = Vec::new();
    for account in accounts {
        let (mut sender, now) =
            (Sender::new(account.clone()), SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default());
        sender.deliver(now, account.event(1), None);
        sender.deliver(now, account.event(2), None);
        sender.deliver(now, account.event(2), Some(Mischief::Replay));
        sender.deliver(now, account.event(3), None);
        reports.push(webhooks::run(sender, app.clone(), 4).await);
        // A forger, who gives up at once.
        let mut forger = Sender::new(Account::new(Provider::GitHub, account.url.clone(), 666));
        forger.deliver(now, account.event(4), Some(Mischief::WrongSignature));
        reports.push(webhooks::run(forger, app.clone(), 4).await);
    }
    reports
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let temporary = tempfile::tempdir()?;
    let (file, real) = match &arguments[..] {
        [] => (temporary.path().join("inbox.redb"), None),
        [listen, secret, file] => (file.into(), Some((listen, secret))),
        _ => return Err("usage: webhook-inbox [LISTEN SECRET FILE]".into()),
    };
    let file = Embedded::open(file, EmbeddedConfig::default())?;
    let queue: Arc<dyn Queue> = Arc::new(EmbeddedQueue::new(file, QueueConfig::default()));
    let drain = Drain::new();
    let signal = drain.signal();
    let worker =
        Worker::new(Arc::clone(&queue), tower::service_fn(work), SystemClock, WorkerConfig::default());
    let working = tokio::spawn(worker.run(signal));
    if let Some((listen, secret)) = real {
        let secret = || Secret::new(secret.as_str());
        let app =
            app(&queue, providers(secret(), secret())?)?.into_make_service_with_connect_info::<SocketAddr>();
        return Ok(axum::serve(tokio::net::TcpListener::bind(listen).await?, app).await?);
    }
    let accounts = [Provider::GitHub, Provider::Stripe]
        .map(|provider| Account::new(provider, format!("http://inbox/hooks/{}", provider.name()), 1));
    let [github, stripe] = accounts.each_ref().map(|account| Secret::new(account.credential()));
    for report in simulate(app(&queue, providers(github, stripe)?)?, accounts).await {
        println!("{} requests: {} taken, {} refused", report.attempts, report.taken, report.given_up);
    }
    while queue.depth().await?.total() > 0 {
        tokio::task::yield_now().await;
    }
    drain.begin();
    Ok(working.await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_delivery_is_one_job_and_a_forged_one_is_none() {
        let file = Embedded::in_memory(EmbeddedConfig::default()).unwrap();
        let queue: Arc<dyn Queue> = Arc::new(EmbeddedQueue::new(file, QueueConfig::default()));
        let accounts = [Provider::GitHub, Provider::Stripe]
            .map(|provider| Account::new(provider, format!("http://inbox/hooks/{}", provider.name()), 1));
        let [github, stripe] = accounts.each_ref().map(|account| Secret::new(account.credential()));
        let reports = simulate(app(&queue, providers(github, stripe).unwrap()).unwrap(), accounts).await;
        assert_eq!(reports.iter().map(|report| report.taken).collect::<Vec<_>>(), [4, 0, 4, 0]);
        assert_eq!(queue.depth().await.unwrap().ready, 6);
    }
}
