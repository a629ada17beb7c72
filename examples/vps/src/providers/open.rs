//! Building the clients, and starting the twins that are needed.

use std::sync::Arc;

use http::Uri;
use livos_core::{secret::Secret, usage::VoicePrice};
use livos_twins::{Twins, TwinsConfig};
use livos_voice::{
    connect::{self, Connector},
    stt::{SpeechToText, Transcriber},
    tts::TextToSpeech,
};
use tower::BoxError;

use super::{
    config::{ProvidersConfig, TwinsSection},
    endpoint::Endpoint,
    model,
    responder::Responder,
    speech,
};
use crate::accounts::Accounts;

/// What answers a conversation, and what it depends on.
pub struct Providers {
    pub stt: Arc<dyn SpeechToText>,
    pub tts: Arc<dyn TextToSpeech>,
    /// Speech to text of recordings.
    pub transcriber: Arc<dyn Transcriber>,
    /// The price of recordings.
    pub transcriber_price: VoicePrice,
    pub responder: Responder,
    /// What is simulated, in words for a person; empty if nothing is.
    pub simulated: Vec<String>,
    /// The providers, to be probed.
    pub dependencies: Vec<Dependency>,
    pub connector: Connector,
    /// Runs the twins until it is dropped.
    pub twins: Option<Twins>,
}

/// One provider that conversations depend on.
#[derive(Debug, Clone)]
pub struct Dependency {
    /// Its part in a conversation, such as `speech_to_text`.
    pub name: &'static str,
    pub address: Uri,
    /// Whether a twin replaces it.
    pub simulated: bool,
}

/// Builds the clients, and starts the twins if any provider is not configured.
pub async fn open(config: &ProvidersConfig, accounts: &Accounts) -> Result<Providers, BoxError> {
    let (deepgram, cartesia, anthropic) = (&config.deepgram, &config.cartesia, &config.anthropic);
    let configured: [(Option<&String>, Option<&Secret>); 3] = [
        (deepgram.url.as_ref(), deepgram.api_key.as_ref()),
        (cartesia.url.as_ref(), cartesia.api_key.as_ref()),
        (anthropic.url.as_ref(), anthropic.api_key.as_ref()),
    ];
    let lacks_one = configured.iter().any(|(url, key)| url.is_none() && key.is_none());
    let twins = if lacks_one { Some(start_twins(&config.twins).await?) } else { None };
    let addresses = twins.as_ref().map(Twins::addresses);
    let twin =
        |n: usize| addresses.as_ref().map(|all| [&all.deepgram, &all.cartesia, &all.anthropic][n].as_str());
    let (sockets, http) = (("wss", "ws"), ("https", "http"));
    let hears = Endpoint::new("deepgram.url", sockets, configured[0], "wss://api.deepgram.com", twin(0))?;
    let speaks = Endpoint::new("cartesia.url", sockets, configured[1], "wss://api.cartesia.ai", twin(1))?;
    let answers = Endpoint::new("anthropic.url", http, configured[2], "https://api.anthropic.com", twin(2))?;

    let connector = connect::tcp(connect::TcpConfig::default())?;
    let endpoints = [("speech_to_text", &hears), ("text_to_speech", &speaks), ("model", &answers)];
    let dependencies = endpoints.map(|(name, Endpoint { url, simulated, .. })| Dependency {
        name,
        address: url.clone(),
        simulated: *simulated,
    });
    let all = twins.as_ref().map(Twins::simulated).unwrap_or_default();
    let simulated =
        all.into_iter().zip(&dependencies).filter(|(_, one)| one.simulated).map(|(words, _)| words);
    let (transcriber, recorded) = speech::transcriber(deepgram, &hears, connector.clone())?;
    Ok(Providers {
        stt: speech::speech_to_text(deepgram, &hears, connector.clone())?,
        tts: speech::text_to_speech(cartesia, &speaks, connector.clone())?,
        transcriber,
        transcriber_price: accounts.prices.hearing(&recorded),
        responder: model::responder(anthropic, &answers, accounts)?,
        simulated: simulated.collect(),
        dependencies: dependencies.into(),
        connector,
        twins,
    })
}

async fn start_twins(config: &TwinsSection) -> Result<Twins, BoxError> {
    let mut twins = TwinsConfig::default();
    (twins.profile, twins.seed) = (config.profile, config.seed);
    (twins.hearing, twins.voice) = (config.hearing, config.voice);
    Ok(Twins::start(twins).await?)
}
