//! Who may talk to the server: a browser with a session cookie, or a program with the bearer token.
//!
//! The browser gets its cookie through a login link that works once. Tokens are compared in
//! constant time over their hashes, kept only as hashes, and never read from a query string except
//! by that one link. Sessions live in memory: a restart prints a new link.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use livos_core::secret::Secret;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The name of the session cookie.
pub const COOKIE: &str = "livos_session";
/// Browsers logged in at one time; the oldest is logged out. One person has few browsers.
const MAX_SESSIONS: usize = 64;
/// Login links that wait to be used.
const MAX_LINKS: usize = 16;
/// How long a browser stays logged in.
const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long a login link waits. A day: `up` prints it, and the person may come back later.
const LINK_LIFETIME: Duration = Duration::from_secs(24 * 3600);

type Hash = [u8; 32];

/// Knows the tokens that are valid now.
pub struct Auth {
    bearer: Option<Hash>,
    secure_cookie: bool,
    links: Mutex<Tokens>,
    sessions: Mutex<Tokens>,
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
    /// With the bearer token for programs, where there is one; `secure_cookie` when people come
    /// over HTTPS.
    pub fn new(bearer: Option<&Secret>, secure_cookie: bool) -> Self {
        Self {
            bearer: bearer.map(|token| hash(token.expose())),
            secure_cookie,
            links: Mutex::new(Tokens::new(MAX_LINKS, LINK_LIFETIME)),
            sessions: Mutex::new(Tokens::new(MAX_SESSIONS, SESSION_LIFETIME)),
        }
    }

    /// A fresh token for a login link.
    pub fn issue_link(&self, now: Instant) -> Result<String, getrandom::Error> {
        let token = random_token()?;
        lock(&self.links).insert(hash(&token), now);
        Ok(token)
    }

    /// Uses up a login link and answers the cookie to set, or `None` when the link is unknown, used
    /// or too old.
    pub fn log_in(&self, link: &str, now: Instant) -> Result<Option<HeaderValue>, getrandom::Error> {
        if !lock(&self.links).remove(&hash(link), now) {
            return Ok(None);
        }
        let token = random_token()?;
        lock(&self.sessions).insert(hash(&token), now);
        let secure = if self.secure_cookie { "; Secure" } else { "" };
        let age = SESSION_LIFETIME.as_secs();
        let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age}{secure}");
        Ok(HeaderValue::try_from(cookie).ok())
    }

    /// Whether these headers carry a valid credential, and which.
    pub fn check(&self, headers: &HeaderMap, now: Instant) -> Option<Credential> {
        if let (Some(expected), Some(given)) = (&self.bearer, bearer(headers)) {
            return bool::from(expected.ct_eq(&hash(given))).then_some(Credential::Bearer);
        }
        let token = cookie(headers)?;
        lock(&self.sessions).contains(&hash(token), now).then_some(Credential::Cookie)
    }
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

    fn contains(&self, token: &Hash, now: Instant) -> bool {
        self.position(token, now).is_some()
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
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn cookie_of(set: &HeaderValue) -> String {
        set.to_str().unwrap().split(';').next().unwrap().to_owned()
    }

    #[test]
    fn a_login_link_works_once() {
        let (auth, now) = (Auth::new(None, false), Instant::now());
        let link = auth.issue_link(now).unwrap();
        let set = auth.log_in(&link, now).unwrap().unwrap();
        assert!(set.to_str().unwrap().contains("HttpOnly; SameSite=Strict"));
        assert!(auth.log_in(&link, now).unwrap().is_none());
        assert_eq!(
            auth.check(&headers(&[("cookie", &format!("a=b; {}", cookie_of(&set)))]), now),
            Some(Credential::Cookie)
        );
    }

    #[test]
    fn links_and_sessions_expire() {
        let (auth, now) = (Auth::new(None, true), Instant::now());
        let old = auth.issue_link(now).unwrap();
        assert!(auth.log_in(&old, now + LINK_LIFETIME).unwrap().is_none());
        let link = auth.issue_link(now).unwrap();
        let set = auth.log_in(&link, now).unwrap().unwrap();
        assert!(set.to_str().unwrap().ends_with("; Secure"));
        assert_eq!(auth.check(&headers(&[("cookie", &cookie_of(&set))]), now + SESSION_LIFETIME), None);
    }

    #[test]
    fn a_bearer_token_must_match_and_is_never_a_cookie() {
        let token = Secret::new("correct horse battery");
        let (auth, now) = (Auth::new(Some(&token), false), Instant::now());
        let check = |value: &str| auth.check(&headers(&[("authorization", value)]), now);
        assert_eq!(check("Bearer correct horse battery"), Some(Credential::Bearer));
        assert_eq!(check("Bearer correct horse batterz"), None);
        assert_eq!(check("Basic correct horse battery"), None);
        assert_eq!(auth.check(&headers(&[("cookie", "livos_session=correct horse battery")]), now), None);
    }

    #[test]
    fn only_the_newest_sessions_are_kept() {
        let (auth, now) = (Auth::new(None, false), Instant::now());
        let log_in = || auth.log_in(&auth.issue_link(now).unwrap(), now).unwrap().unwrap();
        let first = log_in();
        let others: Vec<_> = (0..MAX_SESSIONS).map(|_| log_in()).collect();
        assert_eq!(auth.check(&headers(&[("cookie", &cookie_of(&first))]), now), None);
        assert!(auth.check(&headers(&[("cookie", &cookie_of(&others[0]))]), now).is_some());
    }
}
