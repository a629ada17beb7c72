//! Asks a person for a consent, and takes the answer, in whatever process it arrives.
//!
//! What has to be remembered in between (the verifier of the challenge, and for which grant it is)
//! lies sealed in the store under the hash of `state`, for ten minutes and one use. So the callback
//! may reach another process than the one that began, or the same after a restart.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Uri;
use livos_core::{
    seal::{SealedError, SealedStore},
    secret::Secret,
    store::{Family, InvalidKey, Lifetime},
    time::Clock,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{EndpointError, TokenEndpoint, Tokens, answer::error_code, grant::Plain};

/// How long a person may take to consent. Ten minutes: there may be a password and a second factor
/// to find.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// Consents that were begun, by the hash of their state.
pub const PENDING: Family = Family::new(
    "oauth",
    "pending",
    Lifetime::For(PATIENCE),
    "a consent that was begun: the verifier of its challenge, sealed",
);

/// The longest state or code that is looked at, in bytes. Google's codes have 256 at the most.
const MAX_PARAMETER: usize = 2048;
/// The longest query that is looked at.
const MAX_QUERY: usize = 16 * 1024;

/// Begins and finishes consents with one provider. Cloning shares the store and the HTTP client.
#[derive(Clone)]
pub struct Consents {
    endpoint: TokenEndpoint,
    store: SealedStore,
    clock: Arc<dyn Clock>,
}

/// Who may finish a consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishedBy {
    /// The browser that began it, which holds a cookie. For a page of this server.
    SameBrowser,
    /// Any browser that the link reached, on another device too. For a link that was sent to one
    /// person.
    AnyBrowser,
}

/// A consent that was begun.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Begun {
    /// Where the person has to go.
    pub location: Uri,
    /// What the browser must show when it comes back, where it must be the same one.
    pub browser: Option<Secret>,
}

/// A consent that was finished.
#[derive(Debug)]
#[non_exhaustive]
pub struct Finished {
    /// The grant that it is for.
    pub grant: String,
    /// What it gave.
    pub tokens: Tokens,
}

#[derive(Serialize, Deserialize)]
struct Pending {
    grant: String,
    verifier: Plain,
    browser: Option<[u8; 32]>,
    subject: Option<String>,
}

impl Consents {
    /// Consents with this provider, remembered in this store.
    pub fn new(endpoint: TokenEndpoint, store: SealedStore, clock: Arc<dyn Clock>) -> Self {
        Self { endpoint, store, clock }
    }

    /// The provider's endpoints.
    pub fn endpoint(&self) -> &TokenEndpoint {
        &self.endpoint
    }

    /// Begins a consent for a grant. Where `account` is known (its number or address at the
    /// provider), the person need not choose, and one that chooses another account than this number
    /// is refused.
    pub async fn begin(
        &self,
        grant: &str,
        account: Option<&super::Account>,
        by: FinishedBy,
    ) -> Result<Begun, ConsentError> {
        let (state, verifier) = (random()?, random()?);
        let browser = if by == FinishedBy::SameBrowser { Some(random()?) } else { None };
        let pending = Pending {
            grant: grant.to_owned(),
            verifier: Plain(verifier.clone()),
            browser: browser.as_ref().map(|browser| hash(browser.expose())),
            subject: account.map(|account| account.subject.clone()),
        };
        let location = self.location(&state, &verifier, account)?;
        let text = serde_json::to_string(&pending).map_err(|_| ConsentError::Unbuilt)?;
        self.store.put(self.clock.now(), &PENDING.key(&name(state.expose()))?, Secret::new(text)).await?;
        Ok(Begun { location, browser })
    }

    fn location(
        &self,
        state: &Secret,
        verifier: &Secret,
        account: Option<&super::Account>,
    ) -> Result<Uri, ConsentError> {
        let provider = self.endpoint.provider();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &provider.client_id)
            .append_pair("redirect_uri", &provider.redirect_uri)
            .append_pair("scope", &provider.scopes.join(" "))
            .append_pair("state", state.expose())
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(hash(verifier.expose())))
            .append_pair("code_challenge_method", "S256")
            .extend_pairs(&provider.parameters);
        if let Some(account) = account {
            query.append_pair("login_hint", account.email.as_deref().unwrap_or(&account.subject));
        }
        let page = provider.authorization_url.to_string();
        let joint = if page.contains('?') { '&' } else { '?' };
        format!("{page}{joint}{}", query.finish()).parse().map_err(|_| ConsentError::Unbuilt)
    }

    /// Finishes a consent with the query of the callback, and with what the browser showed. Uses
    /// the state up, whatever comes of it.
    pub async fn finish(&self, query: &str, browser: Option<&str>) -> Result<Finished, ConsentError> {
        let answer = Answer::parse(query)?;
        let pending = self.take(&answer.state).await?;
        if let Some(expected) = pending.browser {
            let shown = hash(browser.unwrap_or_default());
            if !bool::from(expected.ct_eq(&shown)) {
                return Err(ConsentError::OtherBrowser);
            }
        }
        let provider = self.endpoint.provider();
        if let (Some(expected), Some(issuer)) = (&provider.issuer, &answer.issuer)
            && expected != issuer
        {
            return Err(ConsentError::OtherProvider);
        }
        let code = answer.code?;
        let tokens = self.endpoint.exchange(&code, &pending.verifier.0).await?;
        let missing: Vec<String> =
            provider.scopes.iter().filter(|scope| !is_granted(scope, &tokens.scopes)).cloned().collect();
        if !missing.is_empty() {
            return Err(ConsentError::MissingScopes(missing));
        }
        if provider.requires_refresh_token && tokens.refresh_token.is_none() {
            return Err(ConsentError::NoRefreshToken);
        }
        if let (Some(expected), Some(account)) = (&pending.subject, &tokens.account)
            && *expected != account.subject
        {
            return Err(ConsentError::OtherAccount);
        }
        Ok(Finished { grant: pending.grant, tokens })
    }

    /// Reads and removes in this order: of two callbacks with one state, one removes it.
    async fn take(&self, state: &str) -> Result<Pending, ConsentError> {
        let (now, key) = (self.clock.now(), PENDING.key(&name(state))?);
        let entry = self.store.get(now, &key).await?.ok_or(ConsentError::UnknownState)?;
        if !self.store.remove(now, &key).await? {
            return Err(ConsentError::UnknownState);
        }
        serde_json::from_slice(entry.secret.expose()).map_err(|_| ConsentError::UnknownState)
    }
}

/// Whether a scope was granted: all are where the provider names none. Google names those of
/// identity in another way than they are asked for.
fn is_granted(scope: &str, granted: &[String]) -> bool {
    let alias = format!("https://www.googleapis.com/auth/userinfo.{scope}");
    granted.is_empty() || granted.iter().any(|granted| granted == scope || *granted == alias)
}

/// The query of a callback.
struct Answer {
    state: String,
    issuer: Option<String>,
    code: Result<Secret, ConsentError>,
}

impl Answer {
    /// Strictly: a parameter that stands twice is refused, because a proxy might read the other
    /// one.
    fn parse(query: &str) -> Result<Self, ConsentError> {
        if query.len() > MAX_QUERY {
            return Err(ConsentError::Malformed("the query is too long"));
        }
        let (mut state, mut code, mut error, mut issuer) = (None, None, None, None);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let slot = match name.as_ref() {
                "state" => &mut state,
                "code" => &mut code,
                "error" => &mut error,
                "iss" => &mut issuer,
                _ => continue,
            };
            if value.is_empty() || value.len() > MAX_PARAMETER || slot.replace(value.into_owned()).is_some() {
                return Err(ConsentError::Malformed("a parameter is empty, too long, or stands twice"));
            }
        }
        let code = match (code, error) {
            (Some(code), None) => Ok(Secret::new(code)),
            (None, Some(error)) => Err(ConsentError::Denied(error_code(&error))),
            _ => return Err(ConsentError::Malformed("there must be either a code or an error")),
        };
        Ok(Self { state: state.ok_or(ConsentError::Malformed("there is no state"))?, issuer, code })
    }
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The name of a state in the store: its hash, so that who can read names can't finish a consent.
fn name(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash(state))
}

/// 256 bits in 43 characters, which is also the shortest verifier.
fn random() -> Result<Secret, ConsentError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| ConsentError::Randomness)?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

/// Why a consent could not be begun or finished.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsentError {
    /// The callback is not as a provider sends it.
    #[error("the callback is malformed: {0}")]
    Malformed(&'static str),
    /// Nobody began this consent, or it was finished already, or it took longer than ten minutes.
    #[error("nobody began this consent, it was finished already, or it took too long")]
    UnknownState,
    /// Another browser began it.
    #[error("another browser began this consent")]
    OtherBrowser,
    /// The callback comes from another provider than the one that was asked.
    #[error("the callback comes from another provider")]
    OtherProvider,
    /// The person chose another account than the one that the grant is of.
    #[error("the consent is of another account")]
    OtherAccount,
    /// The provider did not consent, with its error code.
    #[error("the consent was not given: {0}")]
    Denied(String),
    /// The person left scopes out.
    #[error("the consent leaves out what is needed: {}", .0.join(" "))]
    MissingScopes(Vec<String>),
    /// The provider gave no refresh token: access would end within the hour.
    #[error("the consent gives no lasting access: the provider sent no refresh token")]
    NoRefreshToken,
    /// The code could not be exchanged.
    #[error("the code could not be exchanged")]
    Exchange(#[from] EndpointError),
    /// The store failed.
    #[error("what was begun could not be kept")]
    Store(#[from] SealedError),
    /// A state can't stand in a key. Its hash always can.
    #[error("a state can't be a key")]
    Key(#[from] InvalidKey),
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
    /// The address of the consent page can't be built.
    #[error("the address of the consent page can't be built")]
    Unbuilt,
}

impl ConsentError {
    /// Whether this server or the provider is to blame, and not the one who calls.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Exchange(_) | Self::Store(_) | Self::Key(_) | Self::Randomness | Self::Unbuilt)
    }
}

impl std::fmt::Debug for Consents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consents").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}
