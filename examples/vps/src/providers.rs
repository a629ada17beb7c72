//! The providers as the configuration names them; a twin in this process stands in for each that
//! has neither a key nor an address.

use std::sync::Arc;

use http::Uri;
use livos_agent::{
    Agent, AgentConfig,
    model::{
        Metered,
        anthropic::{Anthropic, AnthropicConfig},
    },
};
use livos_core::{reconnect::ReconnectConfig, secret::Secret};
use livos_twins::{Twins, TwinsConfig};
use livos_voice::{
    connect::{self, Connector},
    stt::{
        SpeechToText,
        deepgram::{
            Config as DeepgramConfig, Flux, FluxConfig, Listen, ListenConfig, Recorded, RecordedConfig,
        },
    },
    tts::{
        TextToSpeech,
        cartesia::{Cartesia, CartesiaConfig},
    },
};
use tower::{BoxError, ServiceExt};

use crate::{
    app::Responder,
    config::{self, Config, ConfigError, DeepgramApi, provider_url},
    notes::Notes,
    usage::Accounts,
};

/// What answers a conversation, and what it depends on.
pub struct Providers {
    /// Speech to text.
    pub stt: Arc<dyn SpeechToText>,
    /// Speech that was recorded, to text.
    pub notes: Notes,
    /// Text to speech.
    pub tts: Arc<dyn TextToSpeech>,
    /// The agent.
    pub responder: Responder,
    /// What is simulated, in words for a person; empty when nothing is.
    pub simulated: Vec<String>,
    /// Each provider's name, address, and whether it is simulated.
    pub dependencies: Vec<(&'static str, Uri, bool)>,
    /// Connects to them.
    pub connector: Connector,
    /// Keeps the twins running.
    pub twins: Option<Twins>,
}

/// Where one provider is and what opens it. A wire-compatible server on loopback may need no key;
/// it gets one that says so.
struct Door {
    url: String,
    key: Secret,
    simulated: bool,
}

impl Door {
    fn new(url: Option<&String>, key: Option<&Secret>, own: &str, twin: Option<&str>) -> Self {
        let absent = || Secret::new("no-key-configured");
        match (url, key, twin) {
            (None, None, Some(twin)) => {
                Self { url: twin.to_owned(), key: Secret::new("twin"), simulated: true }
            }
            (url, key, _) => Self {
                url: url.map_or_else(|| own.to_owned(), Clone::clone),
                key: key.cloned().unwrap_or_else(absent),
                simulated: false,
            },
        }
    }

    fn uri(&self, what: &str, secure: &str, plain: &str) -> Result<Uri, BoxError> {
        provider_url(&self.url, secure, plain).map_err(|why| ConfigError(format!("{what}: {why}")).into())
    }
}

/// Builds the clients, and starts the twins where one is needed.
pub async fn build(config: &Config, accounts: &Accounts) -> Result<Providers, BoxError> {
    let (stt, tts, model) = (&config.deepgram, &config.cartesia, &config.anthropic);
    let absent = |url: &Option<String>, key: &Option<Secret>| url.is_none() && key.is_none();
    let needed =
        [absent(&stt.url, &stt.api_key), absent(&tts.url, &tts.api_key), absent(&model.url, &model.api_key)];
    let twins = if needed.contains(&true) { Some(start_twins(&config.twins).await?) } else { None };
    let addresses = twins.as_ref().map(Twins::addresses);
    let twin =
        |n: usize| addresses.as_ref().map(|all| [&all.deepgram, &all.cartesia, &all.anthropic][n].as_str());

    let stt_door = Door::new(stt.url.as_ref(), stt.api_key.as_ref(), "wss://api.deepgram.com", twin(0));
    let tts_door = Door::new(tts.url.as_ref(), tts.api_key.as_ref(), "wss://api.cartesia.ai", twin(1));
    let model_door =
        Door::new(model.url.as_ref(), model.api_key.as_ref(), "https://api.anthropic.com", twin(2));
    let connector = connect::tcp(connect::TcpConfig::default())?;
    let dependencies = vec![
        ("speech_to_text", stt_door.uri("deepgram.url", "wss", "ws")?, stt_door.simulated),
        ("text_to_speech", tts_door.uri("cartesia.url", "wss", "ws")?, tts_door.simulated),
        ("model", model_door.uri("anthropic.url", "https", "http")?, model_door.simulated),
    ];
    let all = twins.as_ref().map(Twins::simulated).unwrap_or_default();
    let simulated =
        all.into_iter().zip(&dependencies).filter(|(_, (.., simulated))| *simulated).map(|(name, _)| name);
    Ok(Providers {
        simulated: simulated.collect(),
        notes: notes(stt, &stt_door, connector.clone(), accounts)?,
        stt: speech_to_text(stt, stt_door, connector.clone())?,
        tts: text_to_speech(tts, tts_door, &dependencies[1].1, connector.clone())?,
        responder: responder(model, model_door, &dependencies[2].1, accounts)?,
        dependencies,
        connector,
        twins,
    })
}

async fn start_twins(config: &config::Twins) -> Result<Twins, BoxError> {
    let mut twins = TwinsConfig::default();
    twins.profile = config.profile.parse().map_err(|why| ConfigError(format!("twins.profile: {why}")))?;
    twins.hearing = config.hearing.parse().map_err(|why| ConfigError(format!("twins.hearing: {why}")))?;
    twins.voice = config.voice.parse().map_err(|why| ConfigError(format!("twins.voice: {why}")))?;
    twins.seed = config.seed;
    Ok(Twins::start(twins).await?)
}

fn speech_to_text(
    config: &config::Deepgram,
    door: Door,
    connector: Connector,
) -> Result<Arc<dyn SpeechToText>, BoxError> {
    let mut common = DeepgramConfig::new(door.key);
    common.base_url = door.url;
    common.keyterms.clone_from(&config.keyterms);
    let timing = &mut common.timing;
    set(&mut timing.finalize_timeout, config.finalize_timeout);
    set(&mut timing.keep_alive_interval, config.keep_alive_interval);
    set(&mut timing.answer_due_after, config.answer_due_after);
    set(&mut timing.mute_after, config.mute_after);
    set(&mut timing.opening_silence, config.opening_silence);
    set(&mut timing.retained, config.retained);
    set(&mut timing.close_timeout, config.close_timeout);
    reconnect(&mut common.reconnect, config.reconnect_first, config.reconnect_longest);
    match config.api {
        DeepgramApi::Listen => {
            let mut listen = ListenConfig::default();
            set(&mut listen.model, config.model.clone());
            set(&mut listen.language, config.language.clone());
            Ok(Arc::new(Listen::new(common, &listen, connector)?))
        }
        DeepgramApi::Flux => {
            let mut flux = FluxConfig::default();
            set(&mut flux.model, config.model.clone());
            flux.language_hints.extend(config.language.clone());
            Ok(Arc::new(Flux::new(common, flux, connector)?))
        }
    }
}

/// Flux hears live speech only; recordings go to the model that is the client's own choice.
fn notes(
    config: &config::Deepgram,
    door: &Door,
    connector: Connector,
    accounts: &Accounts,
) -> Result<Notes, BoxError> {
    let mut common = DeepgramConfig::new(door.key.clone());
    common.base_url.clone_from(&door.url);
    common.keyterms.clone_from(&config.keyterms);
    let mut recorded = RecordedConfig::default();
    set(&mut recorded.model, config.model.clone().filter(|_| config.api == DeepgramApi::Listen));
    set(&mut recorded.language, config.language.clone());
    let price = accounts.hearing_price(&recorded.model);
    let transcriber = Recorded::new(&common, recorded, connector)?;
    Ok(Notes::new(Arc::new(transcriber), accounts.usage.clone(), price))
}

fn text_to_speech(
    config: &config::Cartesia,
    door: Door,
    address: &Uri,
    connector: Connector,
) -> Result<Arc<dyn TextToSpeech>, BoxError> {
    let mut client = CartesiaConfig::new(door.key);
    client.base_url = address.clone();
    set(&mut client.model, config.model.clone());
    set(&mut client.voice, config.voice.clone());
    set(&mut client.language, config.language.clone());
    set(&mut client.max_buffer_delay, config.max_buffer_delay);
    set(&mut client.mute_after, config.mute_after);
    set(&mut client.recycle_after, config.recycle_after);
    set(&mut client.context_idle, config.context_idle);
    set(&mut client.retry_delay, config.retry_delay);
    reconnect(&mut client.reconnect, config.reconnect_first, config.reconnect_longest);
    Ok(Arc::new(Cartesia::new(client, connector)?))
}

fn responder(
    config: &config::Anthropic,
    door: Door,
    address: &Uri,
    accounts: &Accounts,
) -> Result<Responder, BoxError> {
    let mut client = AnthropicConfig::new(door.key);
    client.base_url = address.clone();
    set(&mut client.model, config.model.clone());
    set(&mut client.max_tokens, config.max_tokens);
    set(&mut client.system, config.system.clone());
    set(&mut client.first_event_timeout, config.first_event_timeout);
    set(&mut client.idle_timeout, config.idle_timeout);
    let metered = accounts.metered(&client);
    let model = Metered::new(Anthropic::over_tls(client)?, accounts.usage.clone(), metered);
    let agent = Agent::new(model, AgentConfig::default());
    Ok(Responder::new(agent.map_err(|error| error)))
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

fn reconnect(
    config: &mut ReconnectConfig,
    first: Option<std::time::Duration>,
    longest: Option<std::time::Duration>,
) {
    set(&mut config.backoff.first, first);
    set(&mut config.backoff.longest, longest);
}
