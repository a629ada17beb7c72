//! A provider of OAuth whose token endpoint may answer anything.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use livos_core::secret::Secret;
use livos_integrations::oauth::{ProviderConfig, TokenEndpoint, google};
use tower::{BoxError, service_fn};

use crate::message::Message;

/// What the client shows to the provider, and nobody else may see.
pub const CLIENT_SECRET: &str = "GOCSPX-the-secret-of-the-client";

/// Google, as this client knows it.
pub fn provider() -> ProviderConfig {
    let callback = "https://agent.example/oauth/callback";
    google::provider("client", Secret::new(CLIENT_SECRET), callback, &[google::GMAIL_MODIFY])
}

/// Its endpoints, which answer each request with this.
pub fn endpoint(answer: &Message) -> TokenEndpoint {
    let (status, headers, body) = (answer.status, answer.headers.clone(), answer.body.clone());
    let http = service_fn(move |_: Request<Full<Bytes>>| {
        let mut response = Response::new(Full::new(body.clone()));
        (*response.status_mut(), *response.headers_mut()) = (status, headers.clone());
        async move { Ok::<_, BoxError>(response) }
    });
    TokenEndpoint::new(provider(), livos_core::http::HttpClient::new(http)).expect("a valid configuration")
}

/// Panics where an error tells one of these secrets, though the provider repeated it, or more than
/// a line.
pub fn check_error(error: &(dyn std::error::Error + 'static), secrets: &[&str]) {
    let mut said = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        said += &format!(" {error}");
        cause = error.source();
    }
    assert!(said.len() < 2000 && !said.contains(char::is_control), "{said:?} is no line of a log");
    for secret in secrets {
        assert!(!said.contains(secret), "an error tells a secret: {said}");
    }
}
