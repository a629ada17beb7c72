//! Asks a token endpoint: codes into tokens, refresh tokens into access tokens, and back when they
//! are given up.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use livos_core::{
    http::{HttpClient, ReadError},
    secret::Secret,
};

use super::{EndpointError, InvalidProvider, ProviderConfig, Tokens, read_answer};

/// The most of an answer that is read, in bytes. Two tokens and an ID token are some kilobytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A provider's endpoints, over whatever HTTP service it was given. Cloning shares that service and
/// its connections.
#[derive(Clone)]
pub struct TokenEndpoint {
    provider: Arc<ProviderConfig>,
    http: HttpClient,
    timeout: Duration,
}

impl TokenEndpoint {
    /// The endpoints of this provider, whose configuration is checked here, once.
    ///
    /// The HTTP service must not follow redirects: it would carry the client's secret elsewhere.
    pub fn new(provider: ProviderConfig, http: HttpClient) -> Result<Self, InvalidProvider> {
        provider.validate()?;
        Ok(Self { provider: Arc::new(provider), http, timeout: Duration::from_secs(20) })
    }

    /// How long a whole answer may take. 20 s by default: a slow provider answers within ten, and
    /// the lease of a refresh is a minute.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The provider.
    pub fn provider(&self) -> &ProviderConfig {
        &self.provider
    }

    /// Turns a code into tokens, by the verifier of its challenge. A code works once: dropping the
    /// future may use it up.
    pub async fn exchange(&self, code: &Secret, verifier: &Secret) -> Result<Tokens, EndpointError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.expose()),
            ("redirect_uri", &self.provider.redirect_uri),
            ("code_verifier", verifier.expose()),
        ];
        self.tokens(&form, &[code, verifier]).await
    }

    /// Turns a refresh token into an access token. Where the provider rotates refresh tokens,
    /// dropping the future may lose the new one.
    pub async fn refresh(&self, refresh_token: &Secret) -> Result<Tokens, EndpointError> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose())];
        self.tokens(&form, &[refresh_token]).await
    }

    /// Gives a grant back. Fine where the provider has no such thing, or does not know the token
    /// any more.
    pub async fn revoke(&self, token: &Secret) -> Result<(), EndpointError> {
        let Some(uri) = &self.provider.revocation_url else { return Ok(()) };
        let (status, headers, body) = self.post(uri, &[("token", token.expose())]).await?;
        match read_answer(status, &headers, &body) {
            _ if status.is_success() || status == StatusCode::BAD_REQUEST => Ok(()),
            Ok(_) => Ok(()),
            Err(error) => Err(self.untold(error, &[token])),
        }
    }

    /// Tokens for what the form asks with, which holds these secrets.
    async fn tokens(&self, form: &[(&str, &str)], secrets: &[&Secret]) -> Result<Tokens, EndpointError> {
        let (status, headers, body) = self.post(&self.provider.token_url, form).await?;
        read_answer(status, &headers, &body).map_err(|error| self.untold(error, secrets))
    }

    /// The error, which repeats neither these secrets nor the client's.
    fn untold(&self, error: EndpointError, secrets: &[&Secret]) -> EndpointError {
        let all = secrets.iter().copied().chain(&self.provider.client_secret);
        all.fold(error, EndpointError::without)
    }

    async fn post(
        &self,
        uri: &Uri,
        form: &[(&str, &str)],
    ) -> Result<(StatusCode, HeaderMap, Bytes), EndpointError> {
        let request = self.request(uri, form)?;
        let exchange = async {
            let response = self.http.send(request).await.map_err(|error| {
                tracing::debug!(error, "the token endpoint could not be reached");
                EndpointError::unavailable("it could not be reached")
            })?;
            let (head, body) = response.into_parts();
            let body = body.read(MAX_ANSWER).await.map_err(unread)?;
            Ok((head.status, head.headers, body))
        };
        let late =
            |_| EndpointError::unavailable(format!("it said nothing for {} s", self.timeout.as_secs_f32()));
        tokio::time::timeout(self.timeout, exchange).await.map_err(late)?
    }

    fn request(&self, uri: &Uri, form: &[(&str, &str)]) -> Result<Request<Bytes>, EndpointError> {
        let provider = &self.provider;
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let secret = provider.client_secret.as_ref().map(Secret::expose);
        let mut request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match (secret, provider.client_auth) {
            (Some(secret), super::ClientAuth::Basic) => {
                let encode =
                    |part: &str| form_urlencoded::byte_serialize(part.as_bytes()).collect::<String>();
                let pair = STANDARD.encode(format!("{}:{}", encode(&provider.client_id), encode(secret)));
                let mut value = HeaderValue::try_from(format!("Basic {pair}")).map_err(|_| unbuilt())?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
            (secret, _) => {
                body.append_pair("client_id", &provider.client_id);
                body.extend_pairs(secret.map(|secret| ("client_secret", secret)));
            }
        }
        request.body(body.finish().into()).map_err(|_| unbuilt())
    }
}

fn unread(error: ReadError) -> EndpointError {
    tracing::debug!(%error, "the answer of the token endpoint was not read");
    EndpointError::unavailable(match error {
        ReadError::TooLong { .. } => "its answer is too long",
        _ => "its answer broke off",
    })
}

fn unbuilt() -> EndpointError {
    EndpointError::Refused("the request can't be built".into())
}

impl std::fmt::Debug for TokenEndpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenEndpoint").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use livos_core::http::BoxError;
    use tower::service_fn;

    use super::*;
    use crate::oauth::google;

    /// Google, which refuses each request with this error code.
    fn endpoint(error: &str) -> TokenEndpoint {
        answering(serde_json::json!({ "error": error }).to_string())
    }

    fn answering(body: String) -> TokenEndpoint {
        let http = service_fn(move |_: Request<Full<Bytes>>| {
            let mut response = http::Response::new(Full::new(Bytes::from(body.clone())));
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            async move { Ok::<_, BoxError>(response) }
        });
        let secret = Secret::new("GOCSPX-secret");
        let provider =
            google::provider("client", secret, "https://a.example/oauth/callback", &[google::GMAIL_MODIFY]);
        TokenEndpoint::new(provider, HttpClient::new(http)).unwrap()
    }

    #[tokio::test]
    async fn an_error_does_not_repeat_what_the_provider_was_asked_with() {
        let (code, verifier) = (Secret::new("the-code-1234"), Secret::new("the-verifier"));
        let token = Secret::new("1_the-refresh-token");
        for secret in ["the-code-1234", "the-verifier", "GOCSPX-secret"] {
            let error = endpoint(&format!("bad.{secret}")).exchange(&code, &verifier).await.unwrap_err();
            assert_eq!(error, EndpointError::Refused("bad.…".into()));
            // Nor where something stands in between.
            let error = endpoint(&secret.replace('e', "e*")).exchange(&code, &verifier).await.unwrap_err();
            assert!(!error.to_string().contains(secret), "{error}");
        }
        let refused = EndpointError::Refused("….".into());
        assert_eq!(endpoint("1_the-refresh-token.").refresh(&token).await.unwrap_err(), refused);
        assert_eq!(endpoint("1_the-refresh-token.").revoke(&token).await.unwrap_err(), refused);
        let ended = r#"{"error": "invalid_grant", "error_subtype": "1_the-refresh-token"}"#;
        let error = answering(ended.into()).refresh(&token).await.unwrap_err();
        assert_eq!(error, EndpointError::InvalidGrant(Some("…".into())));
    }
}
