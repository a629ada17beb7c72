//! The feature: its section, and the route.

use std::sync::Arc;

use axum::{Router, routing::get};
use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::Semaphore;
use tower::BoxError;

use super::{
    config::VoiceSection,
    session::{self, Sessions},
};
use crate::{
    config::{ConfigError, Document},
    feature::{Feature, Parts, Services},
    http::{Routes, ServerSection},
};

pub struct Voice {
    voice: VoiceSection,
    max_sessions: usize,
}

impl Voice {
    pub fn read(document: &mut Document<'_>) -> Result<Self, ConfigError> {
        let max_sessions = document.section::<ServerSection>()?.max_voice_sessions;
        Ok(Self { voice: document.section()?, max_sessions })
    }
}

impl Feature for Voice {
    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        let providers = &services.providers;
        let sessions = Sessions {
            turn: self.voice.turn(),
            opener: self.voice.opener(),
            simulated: providers.simulated.clone(),
            meter: services.accounts.meter.clone(),
            // The other half is for closing: a client that is cut off would not know why.
            drain_patience: services.drain_timeout / 2,
            responder: providers.responder.clone(),
            stt: Arc::clone(&providers.stt),
            tts: Arc::clone(&providers.tts),
            permits: Arc::new(Semaphore::new(self.max_sessions)),
            supervisor: services.supervisor.clone(),
            load: services.load.clone(),
            drain: services.drain.clone(),
        };
        let router = Router::new().route("/v1/voice", get(session::upgrade)).with_state(Arc::new(sessions));
        let parts = Parts { routes: Routes::protected(router), ..Parts::default() };
        std::future::ready(Ok(parts)).boxed()
    }
}
