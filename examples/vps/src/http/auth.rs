//! Who may talk to the server: a browser with a session cookie, or a program with the bearer token.
//!
//! The browser gets its cookie through a login link that works once. Tokens are compared in
//! constant time over their hashes, kept only as hashes, and never read from a query string except
//! by that one link. Sessions are in the store, so a restart logs nobody out; links are in memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use livos_core::{
    secret::Secret,
    store::{Family, Lifetime, Store},
    time::{Clock, SystemClock},
};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tower::BoxError;

const COOKIE: &str = "livos_session";
/// Login links that wait to be used; beyond that the oldest is forgotten.
const MAX_LINKS: usize = 16;
/// How long a browser stays logged in.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a login link waits. A day: `up` prints it, and the person may come back later.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Browsers that are logged in.
pub const SESSIONS: Family = Family::new(
    "http",
    "session",
    Lifetime::For(SESSION_LIFETIME),
    "a browser is logged in, by the hash of its cookie",
);

type Hash = [u8; 32];

/// Knows the tokens that are valid now.
pub struct Auth {
    bearer: Option<Hash>,
    secure_cookie: bool,
    links: Mutex<Tokens>,
    store: Arc<dyn Store>,
}

/// How a request showed who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credential {
    /// The session cookie of a browser. A browser sends it along with requests that other pages
    /// make, so `Origin` must be checked.
    Cookie,
    /// The bearer token, which no browser adds by itself.
    Bearer,
}

impl Auth {
    /// Accepts `bearer` from programs, and the sessions in the store from browsers. Set
    /// `secure_cookie` if browsers come over HTTPS.
    pub fn new(bearer: Option<&Secret>, secure_cookie: bool, store: Arc<dyn Store>) -> Self {
        Self {
            bearer: bearer.map(|token| hash(token.expose())),
            secure_cookie,
            links: Mutex::new(Tokens::new(MAX_LINKS, LINK_LIFETIME)),
            store,
        }
    }

    /// A fresh token for a login link.
    pub fn issue_link(&self, now: Instant) -> Result<String, getrandom::Error> {
        let token = random_token()?;
        lock(&self.links).insert(hash(&token), now);
        Ok(token)
    }

    /// Uses up a login link and answers the cookie to set; `None` if the link is unknown, used or
    /// too old.
    pub async fn log_in(&self, link: &str, now: Instant) -> Result<Option<HeaderValue>, BoxError> {
        if !lock(&self.links).remove(&hash(link), now) {
            return Ok(None);
        }
        let token = random_token()?;
        let key = SESSIONS.key(&session_id(&token))?;
        self.store.put(SystemClock.now(), &key, Bytes::from_static(b"1")).await?;
        Ok(Some(self.cookie(&token, SESSION_LIFETIME)?))
    }

    /// Ends the session of this request and answers the cookie that removes it.
    pub async fn log_out(&self, headers: &HeaderMap) -> Result<HeaderValue, BoxError> {
        if let Some(token) = cookie(headers) {
            self.store.remove(SystemClock.now(), &SESSIONS.key(&session_id(token))?).await?;
        }
        self.cookie("", Duration::ZERO)
    }

    fn cookie(&self, token: &str, age: Duration) -> Result<HeaderValue, BoxError> {
        let secure = if self.secure_cookie { "; Secure" } else { "" };
        let age = age.as_secs();
        let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
        Ok(HeaderValue::try_from(cookie)?)
    }

    /// Whether these headers carry a valid credential, and which. An error means that the store
    /// could not be asked.
    pub async fn check(&self, headers: &HeaderMap) -> Result<Option<Credential>, BoxError> {
        if let (Some(expected), Some(given)) = (&self.bearer, bearer(headers)) {
            return Ok(bool::from(expected.ct_eq(&hash(given))).then_some(Credential::Bearer));
        }
        let Some(token) = cookie(headers) else { return Ok(None) };
        let found = self.store.get(SystemClock.now(), &SESSIONS.key(&session_id(token))?).await?;
        Ok(found.map(|_| Credential::Cookie))
    }
}

/// Under which id a session is kept: the hash, so that the store gives no cookie away.
fn session_id(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(token))
}

/// Whether a request shows a bearer token, right or wrong.
pub fn shows_bearer(headers: &HeaderMap) -> bool {
    bearer(headers).is_some()
}

/// A bounded set of token hashes with one lifetime.
struct Tokens {
    known: VecDeque<(Hash, Instant)>,
    capacity: usize,
    lifetime: Duration,
}

impl Tokens {
    fn new(capacity: usize, lifetime: Duration) -> Self {
        Self { known: VecDeque::with_capacity(capacity), capacity, lifetime }
    }

    fn insert(&mut self, token: Hash, now: Instant) {
        if self.known.len() == self.capacity {
            self.known.pop_front();
        }
        self.known.push_back((token, now));
    }

    /// Looks at every entry, so that the time taken does not tell which one matched.
    fn position(&self, token: &Hash, now: Instant) -> Option<usize> {
        let mut found = None;
        for (at, (known, since)) in self.known.iter().enumerate() {
            let fresh = now.saturating_duration_since(*since) < self.lifetime;
            if bool::from(known.ct_eq(token)) && fresh {
                found = Some(at);
            }
        }
        found
    }

    fn remove(&mut self, token: &Hash, now: Instant) -> bool {
        self.position(token, now).and_then(|at| self.known.remove(at)).is_some()
    }
}

fn lock(tokens: &Mutex<Tokens>) -> std::sync::MutexGuard<'_, Tokens> {
    tokens.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

fn random_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

#[cfg(test)]
mod tests {
    use livos_core::{
        embedded::{Embedded, EmbeddedConfig},
        store::EmbeddedStore,
    };

    use super::*;

    fn auth(bearer: Option<&str>, secure: bool) -> Auth {
        let store = EmbeddedStore::new(Embedded::in_memory(EmbeddedConfig::default()).unwrap());
        Auth::new(bearer.map(Secret::new).as_ref(), secure, Arc::new(store))
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn cookie_of(set: &HeaderValue) -> String {
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_login_link_works_once_and_a_session_until_it_is_logged_out() {
        let (auth, now) = (auth(None, true), Instant::now());
        let link = auth.issue_link(now).unwrap();
        let set = auth.log_in(&link, now).await.unwrap().unwrap();
        let text = set.to_str().unwrap();
        assert!(text.contains("HttpOnly; SameSite=Strict") && text.ends_with("; Secure"), "{text}");
        assert!(auth.log_in(&link, now).await.unwrap().is_none());
        let headers = headers(&[("cookie", &format!("a=b; {}", cookie_of(&set)))]);
        assert_eq!(auth.check(&headers).await.unwrap(), Some(Credential::Cookie));
        auth.log_out(&headers).await.unwrap();
        assert_eq!(auth.check(&headers).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_link_expires() {
        let (auth, now) = (auth(None, false), Instant::now());
        let old = auth.issue_link(now).unwrap();
        assert!(auth.log_in(&old, now + LINK_LIFETIME).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_bearer_token_must_match_and_is_never_a_cookie() {
        let auth = auth(Some("correct horse battery"), false);
        for (header, value, expected) in [
            ("authorization", "Bearer correct horse battery", Some(Credential::Bearer)),
            ("authorization", "Bearer correct horse batterz", None),
            ("authorization", "Basic correct horse battery", None),
            ("cookie", "livos_session=correct horse battery", None),
        ] {
            assert_eq!(auth.check(&headers(&[(header, value)])).await.unwrap(), expected, "{value}");
        }
    }
}
