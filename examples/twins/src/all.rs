//! All twins over loopback TCP, for a demo or a bench.

use std::{io, str::FromStr};

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use crate::{
    anthropic::{self, Anthropic},
    cartesia::{self, Cartesia, Voice},
    deepgram::{self, Deepgram, Hearing},
    discord::{self, Discord},
    gmail::{self, Gmail},
    google::{self, Google},
    latency::Profile,
    serve::{self, Twin},
    telegram::{self, Telegram},
};

/// How the twins behave.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TwinsConfig {
    /// Which waiting times are imitated.
    pub profile: Profile,
    /// All randomness comes from it.
    pub seed: u64,
    /// How the recogniser hears.
    pub hearing: HearingChoice,
    /// How the voice speaks.
    pub voice: VoiceChoice,
    /// Where each listens: Deepgram, Cartesia, Anthropic. A free port of loopback where absent.
    pub listen: [Option<std::net::SocketAddr>; 3],
    /// Where Google listens. A free port of loopback where absent.
    pub google: Option<std::net::SocketAddr>,
    /// Where Telegram listens. A free port of loopback where absent.
    pub telegram: Option<std::net::SocketAddr>,
    /// Where Discord listens. A free port of loopback where absent.
    pub discord: Option<std::net::SocketAddr>,
    /// Where Gmail listens. A free port of loopback where absent.
    pub gmail: Option<std::net::SocketAddr>,
    /// Where Gmail's pushes are posted to.
    pub gmail_push_to: Option<http::Uri>,
}

/// How the recogniser hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HearingChoice {
    /// By pocketsphinx where it is installed, else by a script.
    #[default]
    Auto,
    /// By pocketsphinx.
    Sphinx,
    /// Any speech is taken for the next sentence of a script.
    Script,
    /// Letter tones.
    Tones,
}

/// How the voice speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VoiceChoice {
    /// By flite where it is installed, else by a hum.
    #[default]
    Auto,
    /// By flite.
    Flite,
    /// In letter tones.
    Tones,
}

impl FromStr for Profile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "zero" => Ok(Self::Zero),
            "seed" => Ok(Self::Seed),
            _ => Err("is `zero` or `seed`"),
        }
    }
}

impl FromStr for HearingChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "sphinx" => Ok(Self::Sphinx),
            "script" => Ok(Self::Script),
            "tones" => Ok(Self::Tones),
            _ => Err("is `auto`, `sphinx`, `script` or `tones`"),
        }
    }
}

impl FromStr for VoiceChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "flite" => Ok(Self::Flite),
            "tones" => Ok(Self::Tones),
            _ => Err("is `auto`, `flite` or `tones`"),
        }
    }
}

/// Base URLs of the twins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// `ws://…`
    pub deepgram: String,
    /// `ws://…`
    pub cartesia: String,
    /// `http://…`
    pub anthropic: String,
    /// `http://…`
    pub google: String,
    /// `http://…`
    pub telegram: String,
    /// `http://…`
    pub discord: String,
    /// `http://…`
    pub gmail: String,
}

/// The twins, serving until they are dropped.
#[derive(Debug)]
pub struct Twins {
    addresses: Addresses,
    simulated: Vec<String>,
    _stop: watch::Sender<()>,
    _tasks: JoinSet<()>,
}

impl Twins {
    /// Starts them. Must be called inside a tokio runtime.
    pub async fn start(config: TwinsConfig) -> io::Result<Self> {
        let hearing = match config.hearing {
            HearingChoice::Auto => Hearing::detect(),
            HearingChoice::Sphinx => Hearing::Sphinx(deepgram::Sphinx::start().map_err(io::Error::other)?),
            HearingChoice::Script => Hearing::default_script(),
            HearingChoice::Tones => Hearing::Tones,
        };
        let voice = match config.voice {
            VoiceChoice::Auto => Voice::detect(),
            VoiceChoice::Flite => Voice::Flite(cartesia::Flite::find().map_err(io::Error::other)?),
            VoiceChoice::Tones => Voice::Tones,
        };
        let simulated = vec![
            format!("speech to text ({})", describe_hearing(&hearing)),
            format!("text to speech ({})", describe_voice(&voice)),
            "the language model (simple rules)".to_owned(),
        ];
        let (seed, profile) = (config.seed, config.profile);
        let deepgram =
            Deepgram::new(deepgram::Config { seed, profile, hearing, ..deepgram::Config::default() });
        let cartesia =
            Cartesia::new(cartesia::Config { seed, profile, voice, ..cartesia::Config::default() });
        let anthropic = Anthropic::new(anthropic::Config { seed, profile, ..anthropic::Config::default() });
        let google = Google::new(google::Config { seed, profile, ..google::Config::default() });
        let telegram = Telegram::new(telegram::Config { seed, profile, ..telegram::Config::default() });
        let discord = Discord::new(discord::Config { seed, profile, ..discord::Config::default() });
        let gmail = Gmail::new(gmail::Config {
            seed,
            profile,
            push_to: config.gmail_push_to,
            ..gmail::Config::default()
        });
        let ((stop, stopped), mut tasks) = (watch::channel(()), JoinSet::new());
        let addresses = Addresses {
            deepgram: format!("ws://{}", listen(deepgram, config.listen[0], &stopped, &mut tasks).await?),
            cartesia: format!("ws://{}", listen(cartesia, config.listen[1], &stopped, &mut tasks).await?),
            anthropic: format!("http://{}", listen(anthropic, config.listen[2], &stopped, &mut tasks).await?),
            google: format!("http://{}", listen(google, config.google, &stopped, &mut tasks).await?),
            telegram: format!("http://{}", listen(telegram, config.telegram, &stopped, &mut tasks).await?),
            discord: format!("http://{}", listen(discord, config.discord, &stopped, &mut tasks).await?),
            gmail: format!("http://{}", listen(gmail, config.gmail, &stopped, &mut tasks).await?),
        };
        Ok(Self { addresses, simulated, _stop: stop, _tasks: tasks })
    }

    /// Where they are.
    pub fn addresses(&self) -> Addresses {
        self.addresses.clone()
    }

    /// What each stands in for and how, in words for a person: speech to text, text to speech,
    /// model.
    pub fn simulated(&self) -> Vec<String> {
        self.simulated.clone()
    }
}

async fn listen<T: Twin>(
    twin: T,
    address: Option<std::net::SocketAddr>,
    stopped: &watch::Receiver<()>,
    tasks: &mut JoinSet<()>,
) -> io::Result<std::net::SocketAddr> {
    let listener = TcpListener::bind(address.unwrap_or_else(|| ([127, 0, 0, 1], 0).into())).await?;
    let bound = listener.local_addr()?;
    let mut stopped = stopped.clone();
    tasks.spawn(serve::listen(listener, twin, async move {
        let _ = stopped.changed().await;
    }));
    Ok(bound)
}

fn describe_hearing(hearing: &Hearing) -> &'static str {
    match hearing {
        Hearing::Sphinx(_) => "offline recogniser pocketsphinx",
        Hearing::Script(_) => "a script: whatever you say, it hears the next sentence of a list",
        Hearing::Tones => "letter tones",
    }
}

fn describe_voice(voice: &Voice) -> &'static str {
    match voice {
        Voice::Flite(_) => "offline voice flite",
        Voice::Shaped => "a hum in the rhythm of the words",
        Voice::Tones => "letter tones",
    }
}
