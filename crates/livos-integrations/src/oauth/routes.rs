//! The two pages of a consent, as tower services: one sends the browser to the provider, the other
//! takes it back.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower_service::Service;

use super::{Begun, ConsentError, Consents, FinishedBy, TokenSource};

/// The name of the cookie by which the browser that began a consent is known.
pub const COOKIE: &str = "livos_oauth";

type Page = Response<Full<Bytes>>;

/// `GET`: begins a consent for one grant and sends the browser to the provider. Mount it where only
/// those come who may connect accounts.
#[derive(Debug, Clone)]
pub struct StartPage {
    consents: Consents,
    source: TokenSource,
}

impl StartPage {
    /// Consents for this grant.
    pub fn new(consents: Consents, source: TokenSource) -> Self {
        Self { consents, source }
    }

    async fn answer(&self) -> Page {
        let status = self.source.status();
        match self.consents.begin(self.source.id(), status.account.as_ref(), FinishedBy::SameBrowser).await {
            Ok(begun) => self.redirect(&begun),
            Err(error) => refused(&error),
        }
    }

    fn redirect(&self, begun: &Begun) -> Page {
        let mut response = page(StatusCode::SEE_OTHER, "", "");
        let secure = self.consents.endpoint().provider().redirect_uri.starts_with("https:");
        let secure = if secure { "; Secure" } else { "" };
        if let Some(browser) = &begun.browser {
            // Lax and not Strict: the browser comes back from another site, and must show it then.
            let age = super::PATIENCE.as_secs();
            let cookie = format!(
                "{COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}",
                browser.expose()
            );
            if let Ok(mut cookie) = HeaderValue::try_from(cookie) {
                cookie.set_sensitive(true);
                response.headers_mut().insert(header::SET_COOKIE, cookie);
            }
        }
        if let Ok(location) = HeaderValue::try_from(begun.location.to_string()) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}

/// `GET`: the redirect URI. Needs no login of its own: the state proves that somebody who may began
/// it, and the cookie that it was this browser.
#[derive(Debug, Clone)]
pub struct CallbackPage {
    consents: Consents,
    sources: Arc<HashMap<String, TokenSource>>,
}

impl CallbackPage {
    /// Finishes consents for these grants.
    pub fn new(consents: Consents, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        let sources = sources.into_iter().map(|source| (source.id().to_owned(), source)).collect();
        Self { consents, sources: Arc::new(sources) }
    }

    async fn answer(&self, query: &str, browser: Option<&str>) -> Page {
        let finished = match self.consents.finish(query, browser).await {
            Ok(finished) => finished,
            Err(error) => return refused(&error),
        };
        let Some(source) = self.sources.get(&finished.grant) else {
            return refused(&ConsentError::UnknownState);
        };
        let mut response = match source.grant(finished.tokens).await {
            Ok(true) => page(StatusCode::OK, "Connected", "You can close this page."),
            Ok(false) => page(
                StatusCode::OK,
                "Connected, but not saved yet",
                "The server could not write it down. It works until the server restarts, and the server keeps trying.",
            ),
            Err(_) => page(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not connected",
                "The server is stopping. Begin again in a minute.",
            ),
        };
        let gone = HeaderValue::from_static("livos_oauth=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0");
        response.headers_mut().insert(header::SET_COOKIE, gone);
        response
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(name, value)| (name == COOKIE).then_some(value))
}

fn refused(error: &ConsentError) -> Page {
    let (status, text) = match error {
        ConsentError::Malformed(_) => {
            (StatusCode::BAD_REQUEST, "This is not an address that a provider sends you to.")
        }
        ConsentError::UnknownState => (
            StatusCode::BAD_REQUEST,
            "This consent was finished already, or it took longer than ten minutes. Begin again.",
        ),
        ConsentError::OtherBrowser => {
            (StatusCode::BAD_REQUEST, "Another browser began this consent. Begin again in this one.")
        }
        ConsentError::OtherProvider => (StatusCode::BAD_REQUEST, "The answer comes from another provider."),
        ConsentError::OtherAccount => (
            StatusCode::CONFLICT,
            "You chose another account than the one that is connected. Disconnect that one first.",
        ),
        ConsentError::Denied(_) => (StatusCode::FORBIDDEN, "The consent was not given."),
        ConsentError::MissingScopes(_) => (
            StatusCode::FORBIDDEN,
            "Something that is needed was left unticked. Begin again and leave it ticked.",
        ),
        ConsentError::NoRefreshToken => (
            StatusCode::BAD_GATEWAY,
            "The provider gave access for an hour only. Remove this app in your account's settings there, and begin again.",
        ),
        ConsentError::Exchange(_) => {
            (StatusCode::BAD_GATEWAY, "The provider did not accept its own code. Begin again.")
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "The server could not do it now. Begin again in a minute."),
    };
    if error.is_ours() {
        tracing::warn!(error = error as &dyn std::error::Error, "a consent failed");
    } else {
        tracing::info!(%error, "a consent was refused");
    }
    page(status, "Not connected", text)
}

fn page(status: StatusCode, title: &str, text: &str) -> Page {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\"><title>{title}</title>\
         <h1>{title}</h1><p>{text}</p></html>"
    );
    let mut response = Response::new(Full::from(html));
    *response.status_mut() = status;
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // The address of this page has a code in it.
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn only_get(
    answer: impl Future<Output = Page> + Send + 'static,
    method: &Method,
) -> BoxFuture<'static, Result<Page, Infallible>> {
    if method != Method::GET {
        let mut refused = page(StatusCode::METHOD_NOT_ALLOWED, "Not allowed", "This page is read with GET.");
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
        return Box::pin(std::future::ready(Ok(refused)));
    }
    Box::pin(async move { Ok(answer.await) })
}

impl<B> Service<Request<B>> for StartPage {
    type Response = Page;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Page, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = self.clone();
        only_get(async move { start.answer().await }, request.method())
    }
}

impl<B> Service<Request<B>> for CallbackPage {
    type Response = Page;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Page, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let callback = self.clone();
        let query = request.uri().query().unwrap_or_default().to_owned();
        let browser = cookie(request.headers()).map(str::to_owned);
        only_get(async move { callback.answer(&query, browser.as_deref()).await }, request.method())
    }
}
