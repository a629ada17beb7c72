//! Google's addresses and rules.
//!
//! <https://developers.google.com/identity/protocols/oauth2/web-server>. A refresh token comes with `access_type=offline`, and a second time only with
//! `prompt=consent`. Giving a grant back ends it for all clients of the project, so a new consent
//! does not give the old grant back.

use http::Uri;
use livos_core::secret::Secret;

use super::ProviderConfig;

/// Reads, changes and sends mail, and watches the mailbox.
pub const GMAIL_MODIFY: &str = "https://www.googleapis.com/auth/gmail.modify";
/// Reads mail, and watches the mailbox.
pub const GMAIL_READONLY: &str = "https://www.googleapis.com/auth/gmail.readonly";
/// Sends mail.
pub const GMAIL_SEND: &str = "https://www.googleapis.com/auth/gmail.send";
/// Tells the account's number and address, so that another account is noticed.
pub const IDENTITY: [&str; 2] = ["openid", "email"];

/// Who signs Google's ID tokens.
pub const ISSUER: &str = "https://accounts.google.com";

/// A web client of Google that asks for these scopes, and for the account's identity.
pub fn provider(
    client_id: impl Into<String>,
    client_secret: Secret,
    redirect_uri: impl Into<String>,
    scopes: &[&str],
) -> ProviderConfig {
    let mut provider = ProviderConfig::new(
        Uri::from_static("https://accounts.google.com/o/oauth2/v2/auth"),
        Uri::from_static("https://oauth2.googleapis.com/token"),
        client_id,
        redirect_uri,
    );
    provider.revocation_url = Some(Uri::from_static("https://oauth2.googleapis.com/revoke"));
    provider.client_secret = Some(client_secret);
    provider.scopes = IDENTITY.iter().chain(scopes).map(|scope| (*scope).to_owned()).collect();
    let parameters = [("access_type", "offline"), ("prompt", "consent"), ("include_granted_scopes", "true")];
    provider.parameters = parameters.map(|(name, value)| (name.into(), value.into())).into();
    provider.issuer = Some(ISSUER.into());
    provider
}

/// The same at another address: a twin, or a proxy. `base` is like `http://127.0.0.1:8080`.
pub fn at(base: &str, mut provider: ProviderConfig) -> Result<ProviderConfig, http::uri::InvalidUri> {
    let base = base.trim_end_matches('/');
    provider.authorization_url = format!("{base}/o/oauth2/v2/auth").parse()?;
    provider.token_url = format!("{base}/token").parse()?;
    provider.revocation_url = Some(format!("{base}/revoke").parse()?);
    Ok(provider)
}
