//! What reaches the agent besides the voice: webhooks, a mailbox, chat apps.

use livos_core::secret::Secret;
use serde::Deserialize;

/// An endpoint of webhooks, at `/hooks/{name}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Its name in the path and in the kind of its jobs: 1 to 48 of `a-z`, `0-9`, `-` and `_`.
    pub name: String,
    /// Who sends.
    pub provider: WebhookProvider,
    /// The active secrets, at most four; for Discord the application's public key. Pub/Sub has
    /// none.
    #[serde(default)]
    pub secrets: Vec<Secret>,
    /// What the agent is told to do with a delivery, which it reads as text from outside.
    #[serde(default = "Webhook::task")]
    pub task: String,
    /// For Twilio: the URL that is configured there, without its query.
    #[serde(default)]
    pub url: Option<String>,
    /// For Pub/Sub and Gmail: the subscription's audience.
    #[serde(default)]
    pub audience: Option<String>,
    /// For Pub/Sub and Gmail: the account that the subscription signs with.
    #[serde(default)]
    pub email: Option<String>,
    /// For `hmac`: where the signature is.
    #[serde(default)]
    pub signature_header: Option<String>,
    /// For `hmac`: what stands before the signature in its header.
    #[serde(default)]
    pub prefix: Option<String>,
    /// For `hmac`: where the id is.
    #[serde(default)]
    pub id_header: Option<String>,
    /// For `hmac`: where the time is.
    #[serde(default)]
    pub timestamp_header: Option<String>,
    /// For `hmac`: what is signed, such as `{timestamp}.{body}`; the body alone where absent.
    #[serde(default)]
    pub signed: Option<String>,
}

impl Webhook {
    fn task() -> String {
        "A service reported an event. Say in one or two sentences what happened and whether anything is to be done.".into()
    }
}

/// Who sends webhooks, and by which scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)] // The names say it.
pub enum WebhookProvider {
    Github,
    Stripe,
    Standard,
    Svix,
    Slack,
    Discord,
    DiscordEvents,
    Twilio,
    Shopify,
    Gitlab,
    GitlabToken,
    Linear,
    Telegram,
    Pubsub,
    /// Pub/Sub too; what it pushes wakes the watch of the mailbox, and is not handed to the agent.
    Gmail,
    Hmac,
}

/// Access to a Google account, through an OAuth client of the web kind whose redirect URI is
/// `{public_url}/oauth/google/callback`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Google {
    /// The client's id; `GOOGLE_CLIENT_ID` overrides it. Without it there is no access.
    pub client_id: Option<String>,
    /// The client's secret; `GOOGLE_CLIENT_SECRET` overrides it.
    pub client_secret: Option<Secret>,
    /// Whether the consent screen is in testing: a consent lasts seven days then, and its end is
    /// told two days ahead.
    pub testing: bool,
    /// `https://…` or `http://…` on loopback, in the place of Google: a twin; `GOOGLE_URL`
    /// overrides it.
    pub url: Option<String>,
}

/// The mailbox of the Google account.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Gmail {
    /// Whether the owner is told, in the chats that are paired with the owner's rights, of each
    /// mail that comes into the inbox.
    pub watch: bool,
    /// The Pub/Sub topic to which Gmail publishes, as `projects/P/topics/T`, in the project of the
    /// OAuth client; its subscription pushes to a webhook of the provider `gmail`. Without it the
    /// mailbox is looked at every five minutes.
    pub topic: Option<String>,
    /// `https://…` or `http://…` on loopback, in the place of Gmail: a twin.
    pub url: Option<String>,
}

/// A bot in a chat app.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatApp {
    /// The bot's token; `TELEGRAM_BOT_TOKEN` or `DISCORD_TOKEN` overrides it. Without it there is
    /// no bot.
    pub token: Option<Secret>,
    /// `https://…` or `http://…` on loopback, in the place of the provider: a twin, or one's own
    /// Bot API server.
    pub url: Option<String>,
    /// Whom the bot answers. `pairing`: nobody whom the operator has not let in.
    pub policy: Admission,
    /// With `allow_list`: the ids of people and groups, as the provider writes them. Names change
    /// hands and are no ids.
    pub allow: Vec<String>,
}

/// Whom a bot answers.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    /// Who is paired.
    #[default]
    Pairing,
    /// Who is paired, and who is listed.
    AllowList,
    /// Anybody.
    Open,
    /// Nobody: what is written is dropped.
    Closed,
}

/// How people in chat apps are paired.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pairing {
    /// Whether the operator must also approve who came with a right code. Off: the code was the
    /// operator's word.
    pub approval: bool,
}
