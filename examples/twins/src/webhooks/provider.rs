//! Who sends, how often, and what counts as taken.

use std::time::Duration;

use http::StatusCode;

/// A provider and a way of signing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Provider {
    /// GitHub.
    GitHub,
    /// Stripe.
    Stripe,
    /// Standard Webhooks with a shared secret.
    Standard,
    /// Standard Webhooks by Ed25519.
    StandardEd25519,
    /// Svix.
    Svix,
    /// Slack's events.
    Slack,
    /// Discord's interactions.
    DiscordInteractions,
    /// Discord's webhook events.
    DiscordEvents,
    /// Twilio, with a form.
    Twilio,
    /// Twilio, with JSON.
    TwilioJson,
    /// Shopify.
    Shopify,
    /// GitLab with a signing token.
    GitLab,
    /// GitLab with a plain secret.
    GitLabToken,
    /// Linear.
    Linear,
    /// Telegram.
    Telegram,
    /// Google Pub/Sub.
    PubSub,
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

impl Provider {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::GitHub,
        Self::Stripe,
        Self::Standard,
        Self::StandardEd25519,
        Self::Svix,
        Self::Slack,
        Self::DiscordInteractions,
        Self::DiscordEvents,
        Self::Twilio,
        Self::TwilioJson,
        Self::Shopify,
        Self::GitLab,
        Self::GitLabToken,
        Self::Linear,
        Self::Telegram,
        Self::PubSub,
    ];

    /// Its name, as a path may hold it.
    pub fn name(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::Stripe => "stripe",
            Self::Standard => "standard",
            Self::StandardEd25519 => "standard-ed25519",
            Self::Svix => "svix",
            Self::Slack => "slack",
            Self::DiscordInteractions => "discord-interactions",
            Self::DiscordEvents => "discord-events",
            Self::Twilio => "twilio",
            Self::TwilioJson => "twilio-json",
            Self::Shopify => "shopify",
            Self::GitLab => "gitlab",
            Self::GitLabToken => "gitlab-token",
            Self::Linear => "linear",
            Self::Telegram => "telegram",
            Self::PubSub => "pubsub",
        }
    }

    /// How long to wait after the attempt of this number (from 1) failed, `elapsed` after the
    /// first; none where it is given up.
    pub fn wait(self, attempt: u32, elapsed: Duration) -> Option<Duration> {
        let listed = |waits: &[u64]| waits.get(attempt as usize - 1).map(|wait| secs(*wait));
        let doubling = |first: Duration, longest: Duration, horizon: Duration| {
            let wait = first.saturating_mul(1 << (attempt - 1).min(20)).min(longest);
            (elapsed + wait <= horizon).then_some(wait)
        };
        match self {
            Self::GitHub | Self::DiscordInteractions | Self::GitLab | Self::GitLabToken => None,
            Self::Stripe => doubling(secs(MINUTE), secs(12 * HOUR), secs(3 * DAY)),
            Self::Standard | Self::StandardEd25519 => listed(&[
                5,
                5 * MINUTE,
                30 * MINUTE,
                2 * HOUR,
                5 * HOUR,
                10 * HOUR,
                14 * HOUR,
                20 * HOUR,
                24 * HOUR,
            ]),
            Self::Svix => listed(&[5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 10 * HOUR]),
            Self::Slack => listed(&[0, MINUTE, 5 * MINUTE]),
            Self::DiscordEvents => doubling(secs(5), secs(2 * MINUTE), secs(10 * MINUTE)),
            Self::Twilio | Self::TwilioJson => listed(&[0]),
            Self::Shopify => listed(&[10, 60, 300, 600, 1200, 1800, 3600, 6000]),
            Self::Linear => listed(&[MINUTE, HOUR, 6 * HOUR]),
            Self::Telegram => doubling(secs(1), secs(120), secs(DAY)),
            Self::PubSub => doubling(Duration::from_millis(100), secs(60), secs(7 * DAY)),
        }
    }

    /// Whether this status counts as taken.
    pub fn takes(self, status: StatusCode) -> bool {
        match self {
            Self::Linear => status == StatusCode::OK,
            Self::PubSub => [102, 200, 201, 202, 204].contains(&status.as_u16()),
            _ => status.is_success(),
        }
    }

    /// How long it waits for an answer.
    pub fn timeout(self) -> Duration {
        match self {
            Self::GitHub | Self::GitLab | Self::GitLabToken | Self::PubSub => secs(10),
            Self::Stripe | Self::Standard | Self::StandardEd25519 => secs(20),
            Self::Svix => secs(30),
            Self::Slack | Self::DiscordInteractions | Self::DiscordEvents => secs(3),
            Self::Twilio | Self::TwilioJson => secs(15),
            Self::Shopify | Self::Linear => secs(5),
            Self::Telegram => secs(60),
        }
    }

    /// Whether it comes no sooner than a `Retry-After` says.
    pub fn honours_retry_after(self) -> bool {
        matches!(self, Self::Telegram | Self::Standard | Self::StandardEd25519)
    }
}
