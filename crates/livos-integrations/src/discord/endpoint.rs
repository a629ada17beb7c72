//! The interactions endpoint: a service from a verified post to its answer, for a bot whose portal
//! names an address.
//!
//! The signature is checked before, by the verifier of Discord's, so that nothing here is reached
//! by strangers. The post is enqueued and answered at once; the agent answers later, through a
//! [`super::DiscordOutlet`].

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::Full;
use livos_core::{
    queue::{Enqueued, Queue, QueueError},
    time::Clock,
};
use tower_service::Service;

use super::{
    Reaction, Response,
    event::{Event, Interaction, InvalidEvent},
    jobs::JobConfig,
    react,
};
use crate::webhook::{Delivery, Verified};

/// A verified post that can't be answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is no interaction. Answer 400.
    #[error("the post is no interaction of discord")]
    Invalid(#[from] InvalidEvent),
}

/// How long the queue may take. 2 s of the three that Discord waits; the rest is the network's.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes interactions in. Always ready: the queue is the bound.
#[derive(Clone)]
pub struct Interactions<C> {
    queue: Arc<dyn Queue>,
    clock: C,
    config: JobConfig,
}

impl<C> std::fmt::Debug for Interactions<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interactions").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<C: Clock + Clone> Interactions<C> {
    /// Takes them into this queue.
    pub fn new(config: JobConfig, queue: Arc<dyn Queue>, clock: C) -> Self {
        Self { queue, clock, config }
    }

    async fn take(self, body: Bytes) -> Result<http::Response<Full<Bytes>>, EndpointError> {
        let interaction = Interaction::parse(&body)?;
        let response = match react(interaction.kind, self.config.ephemeral) {
            Reaction::Respond(response) => response,
            Reaction::Enqueue(then) => {
                let job = self.config.job(&Event::Interaction(interaction))?;
                let enqueued = self.queue.enqueue(self.clock.now(), job);
                respond(tokio::time::timeout(PATIENCE, enqueued).await.ok(), then)
            }
        };
        let mut answer = http::Response::new(Full::new(Bytes::from(response.to_json().to_string())));
        answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(answer)
    }
}

/// A deferral promises an answer, so it is given only for what is durable; none for a queue that
/// took too long.
fn respond(enqueued: Option<Result<Enqueued, QueueError>>, then: Response) -> Response {
    match enqueued {
        Some(Ok(Enqueued::Full { .. })) | None => Response::Busy,
        Some(Ok(_)) => then,
        Some(Err(error)) => {
            tracing::error!(%error, "an interaction of discord could not be enqueued");
            Response::Busy
        }
    }
}

impl<C: Clock + Clone> Service<Verified<Delivery>> for Interactions<C> {
    type Response = http::Response<Full<Bytes>>;
    type Error = EndpointError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, EndpointError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EndpointError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Verified<Delivery>) -> Self::Future {
        Box::pin(self.clone().take(delivery.into_inner().body().clone()))
    }
}
