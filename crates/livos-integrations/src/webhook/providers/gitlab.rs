//! GitLab: a signing token by Standard Webhooks (since 19.0), or a plain secret in
//! `X-Gitlab-Token`.
//!
//! <https://docs.gitlab.com/user/project/integrations/webhooks/>. An endpoint has one of the two: with a signing token a right plain secret proves nothing,
//! so that leaving the signature out is no way round it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, header, request::Parts};
use livos_core::{secret::Secret, time::Timestamp};

use super::standard::{self, Scheme};
use crate::webhook::{
    check::Check,
    delivery::Delivery,
    error::{InvalidSecret, VerifyError},
    keys::{self, Keys},
    policy::{MONTH, ProviderPolicy, WEEK},
    verifier::{Opened, Verifier},
    wire,
};

static TOKEN: HeaderName = HeaderName::from_static("x-gitlab-token");
static EVENT: HeaderName = HeaderName::from_static("x-gitlab-event");
static ID: HeaderName = HeaderName::from_static("webhook-id");
static KEY: HeaderName = HeaderName::from_static("idempotency-key");
static EVENT_ID: HeaderName = HeaderName::from_static("x-gitlab-event-uuid");
static HOOK_ID: HeaderName = HeaderName::from_static("x-gitlab-webhook-uuid");

/// Verifies deliveries of GitLab.
#[derive(Debug, Clone)]
pub struct GitLab(Proof);

#[derive(Debug, Clone)]
enum Proof {
    Signed(Scheme),
    Token(Keys<[u8; 32]>),
}

impl GitLab {
    /// By any of these signing tokens: `whsec_` and base64.
    pub fn signed(tokens: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        Ok(Self(Proof::Signed(Scheme::new("gitlab", tokens)?)))
    }

    /// By any of these plain secrets. They cover nothing of the body: prefer a signing token.
    pub fn token(secrets: impl IntoIterator<Item = Secret>) -> Result<Self, InvalidSecret> {
        let tokens = Keys::read(keys::expose(secrets), |text| Ok(keys::token(text)))?;
        Ok(Self(Proof::Token(tokens)))
    }

    /// With another tolerance than [`TOLERANCE`](crate::webhook::TOLERANCE), for signing tokens.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        if let Proof::Signed(scheme) = &mut self.0 {
            scheme.tolerance = tolerance;
        }
        self
    }
}

/// Servers since 19.0 name each delivery; older ones name the event and the hook.
fn id(headers: &HeaderMap) -> Result<Option<String>, VerifyError> {
    for name in [&ID, &KEY] {
        if wire::optional(headers, name)?.is_some() {
            return wire::id(headers, name).map(|id| Some(id.to_owned()));
        }
    }
    let (event, hook) = (wire::optional(headers, &EVENT_ID)?, wire::optional(headers, &HOOK_ID)?);
    Ok(event.zip(hook).map(|(event, hook)| format!("{event}:{hook}")))
}

impl Verifier for GitLab {
    fn policy(&self) -> ProviderPolicy {
        let retention = match self.0 {
            Proof::Signed(_) => WEEK,
            Proof::Token(_) => MONTH,
        };
        ProviderPolicy::new("gitlab").with_retention(retention)
    }

    fn open(&self, now: Timestamp, request: &Parts) -> Result<Opened, VerifyError> {
        let headers = &request.headers;
        let event = wire::optional(headers, &EVENT)?.map(str::to_owned);
        let tokens = match &self.0 {
            Proof::Signed(scheme) => {
                return scheme.open(now, headers, standard::webhook_family(), event);
            }
            Proof::Token(tokens) => tokens,
        };
        if !keys::any_token(tokens, wire::one(headers, &TOKEN)?) {
            return Err(VerifyError::WrongSignature);
        }
        let (id, content_type) = (id(headers)?, wire::hint(headers, &header::CONTENT_TYPE));
        Ok(Check::new(move |body: Bytes| {
            let delivery = match id {
                // Nothing signs the id, but anyone who has the secret could send any body too.
                Some(id) => Delivery::by_id("gitlab", id, body),
                None => Delivery::by_body("gitlab", None, body),
            };
            Ok(delivery.with_event(event).with_content_type(content_type))
        })
        .into())
    }
}
