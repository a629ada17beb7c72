//! The feature: the route.

use axum::{Router, routing::post};
use futures_util::{FutureExt, future::BoxFuture};
use tower::BoxError;

use super::message::{self, Answering};
use crate::{
    feature::{Feature, Parts, Services},
    http::Routes,
};

/// Chat over HTTP. It has no configuration.
pub struct Chat;

impl Feature for Chat {
    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        let answering =
            Answering { responder: services.providers.responder.clone(), load: services.load.clone() };
        let router = Router::new().route("/v1/chat", post(message::chat)).with_state(answering);
        let parts = Parts { routes: Routes::protected(router), ..Parts::default() };
        std::future::ready(Ok(parts)).boxed()
    }
}
