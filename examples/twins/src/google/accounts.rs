//! Who allowed what: codes, grants and tokens, and how they end.

use std::{collections::HashMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Config;
use crate::random::Random;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A consent to an app in testing lasts so long, unless it asked for identity scopes only.
const TESTING: Duration = DAY.saturating_mul(7);
/// A refresh token dies when it was not used for so long.
const IDLE: Duration = DAY.saturating_mul(183);
const CODE: Duration = Duration::from_secs(600);
const IDENTITY: [&str; 5] = [
    "openid",
    "email",
    "profile",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/userinfo.profile",
];

/// Whether a consent lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Publishing {
    /// Seven days.
    Testing,
    /// It lasts.
    #[default]
    Production,
}

/// Whether a refresh gives a new refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rotation {
    /// Google's way.
    #[default]
    Never,
    /// A new one, and the old one stays good.
    Gentle,
    /// A new one, and the next use of the old one ends the grant.
    Strict,
}

/// How a grant ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// The user took it back.
    Revoked,
    /// Its time was over: seven days in testing, or the time that the user chose.
    Expired,
    /// Nobody used it for six months.
    Idle,
    /// The 101st refresh token pushed it out.
    PushedOut,
    /// The password was changed, which ends grants with Gmail scopes.
    PasswordChanged,
    /// The account is gone.
    AccountDeleted,
    /// A Workspace session ended: `invalid_rapt`.
    SessionControl,
    /// A used refresh token or code was used again.
    Reused,
}

impl Death {
    pub(super) const ALL: [Self; 8] = [
        Self::Revoked,
        Self::Expired,
        Self::Idle,
        Self::PushedOut,
        Self::PasswordChanged,
        Self::AccountDeleted,
        Self::SessionControl,
        Self::Reused,
    ];

    /// The name in orders.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::PushedOut => "pushed_out",
            Self::PasswordChanged => "password_changed",
            Self::AccountDeleted => "account_deleted",
            Self::SessionControl => "session_control",
            Self::Reused => "reused",
        }
    }

    /// `error_description`, and `error_subtype` where there is one.
    pub(super) const fn said(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::AccountDeleted => ("Account has been deleted", None),
            Self::SessionControl => ("reauth related error (invalid_rapt)", Some("invalid_rapt")),
            Self::Reused => ("Bad Request", None),
            _ => ("Token has been expired or revoked.", None),
        }
    }

    /// Whether access tokens end with it. The others live out their hour.
    const fn is_immediate(self) -> bool {
        matches!(self, Self::Revoked | Self::AccountDeleted | Self::SessionControl)
    }
}

/// Whose access token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The account's address.
    pub email: String,
    /// The account's number.
    pub sub: String,
    /// What was allowed.
    pub scopes: Vec<String>,
    /// Seconds until the token dies.
    pub expires_in: i64,
}

/// What an authorization request asked for, and the user allowed.
#[derive(Debug, Clone)]
pub(super) struct Allowed {
    pub(super) account: String,
    pub(super) scopes: Vec<String>,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
    pub(super) nonce: Option<String>,
    pub(super) offline: bool,
    pub(super) prompted: bool,
}

#[derive(Debug)]
struct Code {
    allowed: Allowed,
    expires_ms: i64,
    /// The grant that came of it.
    spent: Option<usize>,
}

#[derive(Debug)]
struct Grant {
    account: String,
    scopes: Vec<String>,
    refresh: String,
    /// Refresh tokens that a rotation replaced.
    old: Vec<String>,
    granted_ms: i64,
    used_ms: i64,
    until_ms: Option<i64>,
    offline: bool,
    ended: Option<Death>,
}

#[derive(Debug)]
struct Access {
    grant: usize,
    expires_ms: i64,
}

/// Tokens on their way out.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) account: String,
    pub(super) scopes: Vec<String>,
    pub(super) access: String,
    pub(super) refresh: String,
    /// Whether the refresh token belongs into the answer.
    pub(super) shows_refresh: bool,
    pub(super) refresh_expires_in: Option<i64>,
    pub(super) nonce: Option<String>,
}

#[derive(Debug)]
pub(super) struct Accounts {
    known: Vec<String>,
    publishing: Publishing,
    rotation: Rotation,
    access_lifetime: Duration,
    grant_lifetime: Option<Duration>,
    limit: usize,
    codes: HashMap<String, Code>,
    grants: Vec<Grant>,
    access: HashMap<String, Access>,
    random: Random,
}

impl Accounts {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            known: config.accounts.clone(),
            publishing: config.publishing,
            rotation: config.rotation,
            access_lifetime: config.access_lifetime,
            grant_lifetime: config.grant_lifetime,
            limit: config.refresh_token_limit,
            codes: HashMap::new(),
            grants: Vec::new(),
            access: HashMap::new(),
            random: Random::derive(config.seed, "google tokens", 0),
        }
    }

    /// The account that a hint means: by address or number; the first where it means none.
    pub(super) fn hinted(&self, hint: &str) -> Option<String> {
        self.known
            .iter()
            .find(|email| *email == hint || Self::sub(email) == hint)
            .or_else(|| self.known.first())
            .cloned()
    }

    /// The number of an account, the same in every run.
    pub(super) fn sub(email: &str) -> String {
        let number = Random::derive(0, email, 0).below(1_000_000_000_000);
        format!("100000000{number:012}")
    }

    pub(super) fn live_refresh_tokens(&self, now: i64) -> usize {
        self.grants.iter().filter(|grant| grant.offline && self.death(grant, now).is_none()).count()
    }

    pub(super) fn end(&mut self, account: Option<&str>, how: Death) {
        let grants = self.grants.iter_mut();
        for grant in grants.filter(|grant| account.is_none_or(|account| grant.account == account)) {
            grant.ended.get_or_insert(how);
        }
    }

    pub(super) fn forget_access(&mut self) {
        self.access.clear();
    }

    /// A code for what was allowed.
    pub(super) fn code(&mut self, now: i64, allowed: Allowed) -> String {
        let code = format!("4/0A{}", self.token(48));
        self.codes.insert(code.clone(), Code { allowed, expires_ms: now + ms(CODE), spent: None });
        code
    }

    /// Exchanges a code. A code that is used twice ends what came of it, as the standard advises.
    pub(super) fn exchange(
        &mut self,
        now: i64,
        code: &str,
        redirect_uri: &str,
        hashed_verifier: &str,
    ) -> Option<Issued> {
        let known = self.codes.get(code)?;
        if let Some(grant) = known.spent {
            self.grants[grant].ended.get_or_insert(Death::Revoked);
            return None;
        }
        let challenge = known.allowed.challenge.as_deref();
        let proven = challenge.is_none_or(|challenge| challenge == hashed_verifier);
        if known.expires_ms <= now || known.allowed.redirect_uri != redirect_uri || !proven {
            return None;
        }
        let allowed = known.allowed.clone();
        let consented_before = self
            .grants
            .iter()
            .any(|grant| grant.account == allowed.account && grant.offline && grant.ended.is_none());
        let (prompted, nonce) = (allowed.prompted, allowed.nonce.clone());
        let mut issued = self.issue_grant(now, allowed.account, allowed.scopes, allowed.offline);
        // Without a fresh consent a second authorization brings no refresh token.
        issued.shows_refresh = allowed.offline && (prompted || !consented_before);
        issued.nonce = nonce;
        let grant = self.grants.len() - 1;
        if let Some(code) = self.codes.get_mut(code) {
            code.spent = Some(grant);
        }
        Some(issued)
    }

    /// A grant with its tokens, as after a consent.
    pub(super) fn grant(&mut self, now: i64, account: &str, scopes: Vec<String>) -> Issued {
        self.issue_grant(now, account.to_owned(), scopes, true)
    }

    fn issue_grant(&mut self, now: i64, account: String, scopes: Vec<String>, offline: bool) -> Issued {
        let identity_only = scopes.iter().all(|scope| IDENTITY.contains(&scope.as_str()));
        let testing = self.publishing == Publishing::Testing && !identity_only;
        let until = if testing { Some(TESTING) } else { self.grant_lifetime };
        let refresh = format!("1//0{}", self.token(60));
        self.grants.push(Grant {
            account: account.clone(),
            scopes,
            refresh,
            old: Vec::new(),
            granted_ms: now,
            used_ms: now,
            until_ms: until.map(|until| now + ms(until)),
            offline,
            ended: None,
        });
        let live = |grant: &&mut Grant| grant.account == account && grant.offline && grant.ended.is_none();
        let count = self.grants.iter_mut().filter(live).count();
        if count > self.limit
            && let Some(oldest) = self.grants.iter_mut().find(|grant| live(grant))
        {
            oldest.ended = Some(Death::PushedOut);
        }
        self.issue(now, self.grants.len() - 1)
    }

    /// Refreshes, or says how the grant ended; `rotate` gives a new refresh token whatever the
    /// configuration says.
    pub(super) fn refresh(&mut self, now: i64, token: &str, rotate: bool) -> Result<Issued, Death> {
        let known = |grant: &Grant| grant.refresh == token || grant.old.iter().any(|old| old == token);
        let index = self.grants.iter().position(known).ok_or(Death::Reused)?;
        let death = self.death(&self.grants[index], now);
        let is_old = self.grants[index].refresh != token;
        let new = (rotate || self.rotation != Rotation::Never).then(|| format!("1//0{}", self.token(60)));
        let grant = &mut self.grants[index];
        if let Some(death) = death {
            grant.ended.get_or_insert(death);
            return Err(death);
        }
        if is_old && self.rotation == Rotation::Strict {
            grant.ended = Some(Death::Reused);
            return Err(Death::Reused);
        }
        grant.used_ms = now;
        let rotated = new.is_some();
        if let Some(new) = new {
            grant.old.push(std::mem::replace(&mut grant.refresh, new));
        }
        let issued = self.issue(now, index);
        Ok(Issued { shows_refresh: rotated, ..issued })
    }

    fn issue(&mut self, now: i64, index: usize) -> Issued {
        let access = format!("ya29.a0{}", self.token(120));
        let expires_ms = now + ms(self.access_lifetime);
        self.access.retain(|_, access| access.expires_ms > now);
        self.access.insert(access.clone(), Access { grant: index, expires_ms });
        let grant = &self.grants[index];
        // Only access that the user gave for a time says when it ends; the seven days of testing
        // show nowhere.
        let timed = self.publishing == Publishing::Production;
        Issued {
            account: grant.account.clone(),
            scopes: grant.scopes.clone(),
            access,
            refresh: grant.refresh.clone(),
            shows_refresh: true,
            refresh_expires_in: grant.until_ms.filter(|_| timed).map(|until| (until - now) / 1000),
            nonce: None,
        }
    }

    /// Ends the grants of the account that a token belongs to; false where nobody knows the token.
    pub(super) fn revoke(&mut self, now: i64, token: &str) -> bool {
        let by_refresh = self.grants.iter().find(|grant| grant.refresh == token);
        let by_access = || self.access.get(token).map(|access| &self.grants[access.grant]);
        let Some(grant) = by_refresh.or_else(by_access).filter(|grant| self.death(grant, now).is_none())
        else {
            return false;
        };
        let account = grant.account.clone();
        self.end(Some(&account), Death::Revoked);
        true
    }

    pub(super) fn caller(&self, now: i64, token: &str) -> Option<Caller> {
        let access = self.access.get(token).filter(|access| access.expires_ms > now)?;
        let grant = &self.grants[access.grant];
        if grant.ended.is_some_and(Death::is_immediate) {
            return None;
        }
        Some(Caller {
            email: grant.account.clone(),
            sub: Self::sub(&grant.account),
            scopes: grant.scopes.clone(),
            expires_in: (access.expires_ms - now) / 1000,
        })
    }

    fn death(&self, grant: &Grant, now: i64) -> Option<Death> {
        let expired = grant.until_ms.is_some_and(|until| until <= now).then_some(Death::Expired);
        let idle = (now - grant.used_ms.max(grant.granted_ms) >= ms(IDLE)).then_some(Death::Idle);
        grant.ended.or(expired).or(idle)
    }

    fn token(&mut self, bytes: usize) -> String {
        let mut random = vec![0; bytes];
        self.random.fill(&mut random);
        URL_SAFE_NO_PAD.encode(random)
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
