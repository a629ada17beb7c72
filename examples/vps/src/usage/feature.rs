//! The feature: the routes.

use std::sync::Arc;

use axum::{Router, routing::get};
use futures_util::{FutureExt, future::BoxFuture};
use tower::BoxError;

use super::routes::{self, Ledger};
use crate::{
    feature::{Feature, Parts, Services},
    http::Routes,
};

/// Usage over HTTP. Its configuration is that of the accounts.
pub struct UsagePages;

impl Feature for UsagePages {
    fn open<'s>(self: Box<Self>, services: &'s Services) -> BoxFuture<'s, Result<Parts, BoxError>> {
        let ledger =
            Ledger { accounts: services.accounts.clone(), simulated: services.providers.simulated.clone() };
        let router = Router::new()
            .route("/v1/usage", get(routes::show))
            .route("/v1/usage/days", get(routes::days))
            .with_state(Arc::new(ledger));
        let parts = Parts { routes: Routes::protected(router), ..Parts::default() };
        std::future::ready(Ok(parts)).boxed()
    }
}
