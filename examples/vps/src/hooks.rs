//! `POST /hooks/{name}`: verified deliveries, made durable at once, and worked on by the agent in
//! its own time.
//!
//! Each `[[webhooks]]` of the configuration is one endpoint. A delivery becomes a job of the kind
//! `webhook.{name}`; the agent reads it as text from outside, in a conversation of its own and with
//! the rights of nobody, and what it says is logged.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{Router, extract::Request, middleware};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName};
use livos_core::{
    conversation::{
        Channel, ConversationId, Heard, Inbound, ReplyError, ReplyErrorKind, ReplyEvent, Speaker,
    },
    queue::{Job, JobKind, KindPolicy, Outcome, Queue},
    time::SystemClock,
};
use livos_integrations::webhook::{
    self, Discord, GitHub, GitLab, Hmac, HmacConfig, Linear, PubSub, PubSubConfig, Received, Shopify, Slack,
    Source, StandardWebhooks, Stripe, Svix, Telegram, Twilio, Verifier,
    jwks::{Jwks, JwksConfig},
};
use tower::{BoxError, ServiceExt};

use crate::{
    app::Responder,
    config::{ConfigError, Webhook, WebhookProvider},
    durable::Jobs,
    gmail::Pushes,
    https,
};

/// The most of a delivery that the agent reads, in bytes. 32 KiB: as much as a person may type.
const MAX_TEXT: usize = 32 * 1024;
/// The most of an answer that is logged, in bytes.
const MAX_LOGGED: usize = 2 * 1024;
/// Deliveries of one endpoint that the agent works on at one time. 1: a burst of one provider
/// leaves room for everybody else.
const POLICY: KindPolicy = KindPolicy::DEFAULT.with_concurrency(1);

/// The peer of a connection, as an extension of each of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The kind of the jobs of an endpoint, by its name.
fn kind(name: &str) -> Result<JobKind, ConfigError> {
    let plain = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_');
    let sound = !name.is_empty() && name.len() <= 48 && name.chars().all(plain);
    let kind = sound.then(|| JobKind::try_from(format!("webhook.{name}")).ok()).flatten();
    kind.ok_or_else(|| {
        ConfigError(format!("webhooks: the name {name:?} is not 1 to 48 of a-z, 0-9, - and _"))
    })
}

/// The routes of the endpoints. `forwarded` is the header in which a trusted proxy says who calls;
/// without it the peer of the connection counts. `google` is a stand-in for Google.
pub fn router(
    queue: &Arc<dyn Queue>,
    endpoints: &[Webhook],
    forwarded: Option<HeaderName>,
    google: Option<&str>,
) -> Result<Router, BoxError> {
    let mut router = Router::new();
    let mut names: Vec<&str> = Vec::new();
    let mut keys = None;
    for endpoint in endpoints {
        let name = endpoint.name.as_str();
        if names.contains(&name) {
            return Err(ConfigError(format!("webhooks: two have the name {name:?}")).into());
        }
        names.push(name);
        let verifier = verifier(endpoint, &mut keys, google)
            .map_err(|why| ConfigError(format!("webhooks, {name}: {why}")))?;
        let intake = webhook::intake(verifier, Arc::clone(queue), kind(name)?, SystemClock);
        router = router.route_service(&format!("/hooks/{name}"), intake);
    }
    Ok(router.layer(middleware::map_request(move |mut request: Request| {
        let source = source(&request, forwarded.as_ref());
        async move {
            if let Some(source) = source {
                request.extensions_mut().insert(Source(source));
            }
            request
        }
    })))
}

/// Who calls: what the proxy added last, else the peer.
fn source(request: &Request, forwarded: Option<&HeaderName>) -> Option<IpAddr> {
    let said = |headers: &HeaderMap, name: &HeaderName| {
        let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
        last.rsplit(',').next()?.trim().parse().ok()
    };
    let peer = || request.extensions().get::<Peer>().map(|Peer(address)| address.ip());
    forwarded.and_then(|name| said(request.headers(), name)).or_else(peer)
}

/// The kinds of jobs that the endpoints make, with what each may do.
pub fn kinds(endpoints: &[Webhook]) -> Result<BTreeMap<JobKind, KindPolicy>, ConfigError> {
    endpoints.iter().map(|endpoint| Ok((kind(&endpoint.name)?, POLICY))).collect()
}

/// The agent's work on the deliveries, and the mailbox's on those that come from Gmail.
pub fn jobs(
    jobs: Jobs,
    endpoints: &[Webhook],
    responder: &Responder,
    mailbox: Option<&Pushes>,
) -> Result<Jobs, BoxError> {
    endpoints.iter().try_fold(jobs, |jobs, endpoint| {
        if let (WebhookProvider::Gmail, Some(pushes)) = (endpoint.provider, mailbox) {
            let pushes = pushes.clone();
            return Ok(
                jobs.on(kind(&endpoint.name)?, tower::service_fn(move |lease| pushes.clone().work(lease)))
            );
        }
        let (responder, task) = (responder.clone(), Arc::<str>::from(endpoint.task.as_str()));
        let work = tower::service_fn(move |lease| work(lease, responder.clone(), Arc::clone(&task)));
        Ok(jobs.on(kind(&endpoint.name)?, work))
    })
}

fn verifier(
    endpoint: &Webhook,
    keys: &mut Option<Jwks>,
    google: Option<&str>,
) -> Result<Arc<dyn Verifier>, BoxError> {
    let secrets = endpoint.secrets.iter().cloned();
    let public = || endpoint.secrets.iter().map(|key| key.expose().to_owned());
    let needed = |field: &'static str, value: &Option<String>| {
        value.clone().ok_or_else(|| BoxError::from(format!("{field} is missing")))
    };
    Ok(match endpoint.provider {
        WebhookProvider::Github => Arc::new(GitHub::new(secrets)?),
        WebhookProvider::Stripe => Arc::new(Stripe::new(secrets)?),
        WebhookProvider::Standard => Arc::new(StandardWebhooks::new(secrets)?),
        WebhookProvider::Svix => Arc::new(Svix::new(secrets)?),
        WebhookProvider::Slack => Arc::new(Slack::new(secrets)?),
        WebhookProvider::Discord => Arc::new(Discord::interactions(public())?),
        WebhookProvider::DiscordEvents => Arc::new(Discord::events(public())?),
        WebhookProvider::Twilio => Arc::new(Twilio::new(secrets, &needed("url", &endpoint.url)?)?),
        WebhookProvider::Shopify => Arc::new(Shopify::new(secrets)?),
        WebhookProvider::Gitlab => Arc::new(GitLab::signed(secrets)?),
        WebhookProvider::GitlabToken => Arc::new(GitLab::token(secrets)?),
        WebhookProvider::Linear => Arc::new(Linear::new(secrets)?),
        WebhookProvider::Telegram => Arc::new(Telegram::new(secrets)?),
        WebhookProvider::Pubsub | WebhookProvider::Gmail => {
            let config =
                PubSubConfig::new(needed("audience", &endpoint.audience)?, needed("email", &endpoint.email)?);
            let keys = match keys {
                Some(keys) => keys.clone(),
                None => keys.insert(google_keys(google)?).clone(),
            };
            Arc::new(PubSub::new(config, keys)?)
        }
        WebhookProvider::Hmac => {
            let header = needed("signature_header", &endpoint.signature_header)?;
            let mut config = HmacConfig::new(endpoint.name.clone(), header);
            config.id_header.clone_from(&endpoint.id_header);
            config.timestamp_header.clone_from(&endpoint.timestamp_header);
            config.prefix = endpoint.prefix.clone().unwrap_or_default();
            if let Some(signed) = &endpoint.signed {
                config.signed.clone_from(signed);
            }
            Arc::new(Hmac::new(config, secrets)?)
        }
    })
}

/// Google's keys. None is fetched before a message needs it.
fn google_keys(google: Option<&str>) -> Result<Jwks, BoxError> {
    let mut config = JwksConfig::default();
    if let Some(url) = google {
        config.url = format!("{}/oauth2/v3/certs", url.trim_end_matches('/')).parse()?;
    }
    Ok(Jwks::new(config, https::client()?))
}

/// Hands one delivery to the agent, and logs what it says.
async fn work(lease: Job, responder: Responder, task: Arc<str>) -> Result<Outcome, BoxError> {
    let Ok(received) = Received::from_payload(&lease.payload) else {
        return Ok(Outcome::Dead { reason: "its payload is not a delivery".into() });
    };
    match answer(inbound(&lease, &received, &task)?, responder).await {
        Ok(said) => {
            let Received { provider, id, .. } = &received;
            let said = &said[..said.floor_char_boundary(MAX_LOGGED)];
            tracing::info!(job = %lease.id, kind = %lease.kind, provider, id, said, "the agent worked on a delivery");
            metrics::counter!("livos_webhook_worked_total", "provider" => provider.clone()).increment(1);
            Ok(Outcome::Done)
        }
        Err(error) => {
            let reason = error.to_string();
            Ok(match error.kind() {
                ReplyErrorKind::Rejected => Outcome::Dead { reason },
                _ => Outcome::Retry { after: error.retry_after(), reason },
            })
        }
    }
}

/// The delivery as a message: the task is the operator's, everything that came in is data.
fn inbound(lease: &Job, received: &Received, task: &str) -> Result<Inbound, BoxError> {
    let conversation = ConversationId::try_from(format!("{}:{}", lease.kind, lease.id).as_str())?;
    let mut inbound = Inbound::new(conversation, Channel::Chat, task).from_speaker(Speaker::GroupMember);
    let body = String::from_utf8_lossy(&received.body);
    let body = &body[..body.floor_char_boundary(MAX_TEXT)];
    let event = received.event.as_deref().unwrap_or("unnamed");
    inbound.untrusted.push(format!("provider: {}\nevent: {event}\n\n{body}", received.provider));
    Ok(inbound)
}

async fn answer(inbound: Inbound, responder: Responder) -> Result<String, ReplyError> {
    let mut reply = responder.oneshot(inbound).await?;
    reply.commit();
    let mut said = String::new();
    while let Some(event) = reply.next().await {
        if let ReplyEvent::Text(text) = event? {
            said.push_str(&text);
        }
    }
    reply.heard(Heard { text: said.clone(), complete: true });
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request {
        let mut request = Request::new(axum::body::Body::empty());
        request.extensions_mut().insert(Peer(SocketAddr::from(([127, 0, 0, 1], 5000))));
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn only_what_the_proxy_added_last_is_believed_and_only_if_there_is_one() {
        let name = HeaderName::from_static("x-forwarded-for");
        let forged = request(&[("x-forwarded-for", "198.51.100.1, 192.0.2.7")]);
        assert_eq!(source(&forged, Some(&name)), Some([192, 0, 2, 7].into()));
        assert_eq!(source(&forged, None), Some([127, 0, 0, 1].into()));
        let twice = request(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "192.0.2.7")]);
        assert_eq!(source(&twice, Some(&name)), Some([192, 0, 2, 7].into()));
        assert_eq!(source(&request(&[]), Some(&name)), Some([127, 0, 0, 1].into()));
    }

    #[test]
    fn a_name_that_is_no_path_is_refused() {
        assert!(kind("github-main").is_ok());
        for bad in ["", "a/b", "A", "a.b", &"x".repeat(49)] {
            assert!(kind(bad).is_err(), "{bad:?}");
        }
    }
}
