//! The endpoints of the authorization server.

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use ring::digest;
use serde_json::{Value, json};

use super::{
    Answer, Consent, Form, Google, ISSUER,
    accounts::{Accounts, Allowed, Issued},
};
use crate::{
    connection::{Connection, lock},
    serve::{self, Body},
};

/// An error of the authorization server: status, name and description.
type Refused = (StatusCode, &'static str, &'static str);

impl Google {
    pub(super) fn authorize(&self, query: &str) -> Response<Body> {
        let form = Form::parse(query.as_bytes());
        let redirect_uri = form.text("redirect_uri").to_owned();
        let allowed = self.0.config.redirect_uris.contains(&redirect_uri);
        if form.text("client_id") != self.0.config.client_id {
            return page(StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found.");
        }
        if redirect_uri.is_empty() || !(allowed || self.0.config.redirect_uris.is_empty()) {
            return page(StatusCode::BAD_REQUEST, "redirect_uri_mismatch", "You can't sign in to this app.");
        }
        let scopes: Vec<String> = form.text("scope").split_whitespace().map(str::to_owned).collect();
        let challenge = Some(form.text("code_challenge")).filter(|text| !text.is_empty());
        let is_s256 = challenge.is_none() || form.text("code_challenge_method") == "S256";
        if form.text("response_type") != "code" || scopes.is_empty() || !is_s256 {
            return page(
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "Required parameter is missing or wrong.",
            );
        }
        let now = self.now_ms();
        let mut state = lock(&self.0.state);
        state.stats.authorizations += 1;
        let (mut account, mut scopes) = (state.accounts.hinted(form.text("login_hint")), scopes);
        match state.consents.pop_front().unwrap_or(Consent::Allow) {
            Consent::Allow => {}
            Consent::Deny => account = None,
            Consent::As(email) => account = Some(email),
            Consent::Without(unticked) => scopes.retain(|scope| !unticked.contains(scope)),
        }
        let mut answer = form_urlencoded::Serializer::new(String::new());
        answer.append_pair("state", form.text("state")).append_pair("iss", ISSUER);
        match account {
            None => answer.append_pair("error", "access_denied"),
            Some(account) => {
                let scope = scopes.join(" ");
                let allowed = Allowed {
                    account,
                    scopes,
                    redirect_uri: redirect_uri.clone(),
                    challenge: challenge.map(str::to_owned),
                    nonce: Some(form.text("nonce").to_owned()).filter(|nonce| !nonce.is_empty()),
                    offline: form.text("access_type") == "offline",
                    prompted: form.text("prompt").split(' ').any(|prompt| prompt == "consent"),
                };
                let code = state.accounts.code(now, allowed);
                answer
                    .append_pair("code", &code)
                    .append_pair("scope", &scope)
                    .append_pair("authuser", "0")
                    .append_pair("prompt", "consent")
            }
        };
        drop(state);
        let joint = if redirect_uri.contains('?') { '&' } else { '?' };
        let mut response = Response::new(serve::full(""));
        *response.status_mut() = StatusCode::FOUND;
        if let Ok(location) = HeaderValue::try_from(format!("{redirect_uri}{joint}{}", answer.finish())) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }

    pub(super) async fn token(
        &self,
        request: Request<Incoming>,
        connection: Arc<Connection>,
    ) -> Response<Body> {
        let basic = basic(request.headers());
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        let form = Form::read(request).await.filter(|_| is_form);
        let Some(form) = form else {
            return oauth_error((StatusCode::BAD_REQUEST, "invalid_request", "Bad Request"), None);
        };
        let answer = lock(&self.0.state).answers.pop_front();
        match &answer {
            Some(Answer::Slow(time)) => tokio::time::sleep(*time).await,
            Some(Answer::Mute) => {
                lock(&self.0.state).stats.refreshes += u64::from(form.text("grant_type") == "refresh_token");
                std::future::pending::<()>().await;
            }
            _ => {}
        }
        let (client, secret) = basic
            .unwrap_or_else(|| (form.text("client_id").to_owned(), form.text("client_secret").to_owned()));
        let known = client == self.0.config.client_id && secret == self.0.config.client_secret;
        let issued = match (form.text("grant_type"), answer.as_ref()) {
            (kind, Some(Answer::Error(name))) => {
                lock(&self.0.state).stats.refreshes += u64::from(kind == "refresh_token");
                return named_error(name);
            }
            _ if !known => {
                let refused = (StatusCode::UNAUTHORIZED, "invalid_client", "The OAuth client was not found.");
                return oauth_error(refused, None);
            }
            ("authorization_code", _) => self.exchange(&form),
            ("refresh_token", answer) => self.refresh(&form, answer == Some(&Answer::NewRefreshToken)),
            _ => {
                let refused = (StatusCode::BAD_REQUEST, "unsupported_grant_type", "Invalid grant_type");
                return oauth_error(refused, None);
            }
        };
        match (issued, answer) {
            (_, Some(Answer::Lost)) => {
                connection.cut();
                std::future::pending().await
            }
            (Err(error), _) => *error,
            (Ok(issued), answer) => self.tokens(issued, answer.as_ref()),
        }
    }

    fn exchange(&self, form: &Form) -> Result<Issued, Box<Response<Body>>> {
        let now = self.now_ms();
        let mut state = lock(&self.0.state);
        state.stats.exchanges += 1;
        let hashed = digest::digest(&digest::SHA256, form.text("code_verifier").as_bytes());
        let hashed = URL_SAFE_NO_PAD.encode(hashed);
        let issued = state.accounts.exchange(now, form.text("code"), form.text("redirect_uri"), &hashed);
        issued.ok_or_else(|| {
            state.stats.invalid_grants += 1;
            Box::new(oauth_error((StatusCode::BAD_REQUEST, "invalid_grant", "Bad Request"), None))
        })
    }

    fn refresh(&self, form: &Form, rotate: bool) -> Result<Issued, Box<Response<Body>>> {
        let now = self.now_ms();
        let mut state = lock(&self.0.state);
        state.stats.refreshes += 1;
        let refreshed = state.accounts.refresh(now, form.text("refresh_token"), rotate);
        match refreshed {
            Ok(issued) => {
                state.stats.refreshed += 1;
                Ok(issued)
            }
            Err(death) => {
                state.stats.invalid_grants += 1;
                let (description, subtype) = death.said();
                Err(Box::new(oauth_error((StatusCode::BAD_REQUEST, "invalid_grant", description), subtype)))
            }
        }
    }

    /// The answer with the tokens, or what is to come in its place.
    fn tokens(&self, issued: Issued, answer: Option<&Answer>) -> Response<Body> {
        let lifetime = self.0.config.access_lifetime.as_secs();
        let mut body = json!({
            "access_token": issued.access, "expires_in": lifetime, "token_type": "Bearer",
            "scope": issued.scopes.join(" "),
        });
        if issued.shows_refresh {
            body["refresh_token"] = issued.refresh.clone().into();
        }
        if let Some(left) = issued.refresh_expires_in {
            body["refresh_token_expires_in"] = left.into();
        }
        if issued.scopes.iter().any(|scope| scope == "openid") {
            body["id_token"] = self.id_token(&issued).into();
        }
        let fields = body.as_object_mut();
        match answer {
            Some(Answer::TextLifetime) => body["expires_in"] = lifetime.to_string().into(),
            Some(Answer::Lifetime(seconds)) => body["expires_in"] = (*seconds).into(),
            Some(Answer::NoLifetime) => {
                fields.and_then(|fields| fields.remove("expires_in"));
            }
            Some(Answer::NoRefreshToken) => {
                fields.and_then(|fields| fields.remove("refresh_token"));
            }
            Some(Answer::HalfJson) => {
                let text = body.to_string();
                return serve::json(StatusCode::OK, &body)
                    .map(|_| serve::full(text[..text.len() / 2].to_owned()));
            }
            Some(Answer::Page) => return page(StatusCode::OK, "Welcome", "Please accept our terms of use."),
            Some(Answer::Empty) => return Response::new(serve::full("")),
            _ => {}
        }
        let mut response = serve::json(StatusCode::OK, &body);
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    fn id_token(&self, issued: &Issued) -> String {
        let now = self.now_ms() / 1000;
        let mut claims = json!({
            "iss": ISSUER, "azp": self.0.config.client_id, "aud": self.0.config.client_id,
            "sub": Accounts::sub(&issued.account), "iat": now, "exp": now + 3_600,
        });
        if issued.scopes.iter().any(|scope| scope == "email" || scope.ends_with("/userinfo.email")) {
            claims["email"] = issued.account.clone().into();
            claims["email_verified"] = true.into();
        }
        if let Some(nonce) = &issued.nonce {
            claims["nonce"] = nonce.clone().into();
        }
        self.sign(&claims)
    }

    pub(super) async fn revoke(&self, query: &str, request: Request<Incoming>) -> Response<Body> {
        let form = Form::read(request).await.unwrap_or_default();
        let query = Form::parse(query.as_bytes());
        let token = if form.text("token").is_empty() { query.text("token") } else { form.text("token") };
        let now = self.now_ms();
        let mut state = lock(&self.0.state);
        state.stats.revocations += 1;
        if state.accounts.revoke(now, token) {
            return serve::json(StatusCode::OK, &json!({}));
        }
        oauth_error((StatusCode::BAD_REQUEST, "invalid_token", "Token expired or revoked"), None)
    }

    pub(super) fn token_info(&self, query: &str) -> Response<Body> {
        let query = Form::parse(query.as_bytes());
        let now = self.now_ms();
        let caller = lock(&self.0.state).accounts.caller(now, query.text("access_token"));
        let Some(caller) = caller else {
            return oauth_error((StatusCode::BAD_REQUEST, "invalid_token", "Invalid Value"), None);
        };
        let body = json!({
            "azp": self.0.config.client_id, "aud": self.0.config.client_id, "sub": caller.sub,
            "scope": caller.scopes.join(" "), "expires_in": caller.expires_in.to_string(),
            "email": caller.email, "email_verified": "true", "access_type": "offline",
        });
        serve::json(StatusCode::OK, &body)
    }

    pub(super) fn user_info(&self, headers: &HeaderMap) -> Response<Body> {
        match self.caller(headers, &["openid", "email", "profile"]) {
            Ok(caller) => {
                let body = json!({ "sub": caller.sub, "email": caller.email, "email_verified": true });
                serve::json(StatusCode::OK, &body)
            }
            Err(refused) => *refused,
        }
    }

    pub(super) fn keys(&self, keys: Value) -> Response<Body> {
        lock(&self.0.state).stats.key_fetches += 1;
        let mut response = serve::json(StatusCode::OK, &keys);
        let age = HeaderValue::from_static("public, max-age=21600, must-revalidate, no-transform");
        response.headers_mut().insert(header::CACHE_CONTROL, age);
        response
    }

    pub(super) fn discovery(&self, headers: &HeaderMap) -> Response<Body> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let at = |path: &str| format!("http://{host}{path}");
        let body = json!({
            "issuer": ISSUER,
            "authorization_endpoint": at("/o/oauth2/v2/auth"), "token_endpoint": at("/token"),
            "revocation_endpoint": at("/revoke"), "jwks_uri": at("/oauth2/v3/certs"),
            "userinfo_endpoint": at("/v1/userinfo"), "response_types_supported": ["code"],
            "id_token_signing_alg_values_supported": ["RS256"], "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": true,
        });
        serve::json(StatusCode::OK, &body)
    }
}

/// Client id and secret of an `Authorization: Basic` header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let decoded = STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (client, secret) = text.split_once(':')?;
    let decode = |part: &str| Form::parse(format!("x={part}").as_bytes()).text("x").to_owned();
    Some((decode(client), decode(secret)))
}

fn oauth_error((status, error, description): Refused, subtype: Option<&str>) -> Response<Body> {
    let mut body = json!({ "error": error, "error_description": description });
    if let Some(subtype) = subtype {
        body["error_subtype"] = subtype.into();
    }
    serve::json(status, &body)
}

/// An error by its name, with the status that goes with it.
fn named_error(name: &str) -> Response<Body> {
    let status = match name {
        "invalid_client" | "unauthorized_client" => StatusCode::UNAUTHORIZED,
        "internal_failure" | "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
        "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    serve::json(status, &json!({ "error": name, "error_description": "as ordered" }))
}

fn page(status: StatusCode, title: &str, text: &str) -> Response<Body> {
    let html = format!("<!doctype html><title>{title}</title><h1>{title}</h1><p>{text}</p>");
    let mut response = Response::new(serve::full(html));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}
