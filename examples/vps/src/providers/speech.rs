//! Speech to text and text to speech.

use std::sync::Arc;

use livos_voice::{
    connect::Connector,
    stt::{
        SpeechToText, Transcriber,
        deepgram::{
            Config as DeepgramConfig, Flux, FluxConfig, Listen, ListenConfig, Recorded, RecordedConfig,
        },
    },
    tts::{
        TextToSpeech,
        cartesia::{Cartesia, CartesiaConfig},
    },
};
use tower::BoxError;

use super::{
    config::{CartesiaSection, DeepgramApi, DeepgramSection},
    endpoint::{Endpoint, set, set_reconnect},
};

/// Live speech to text.
pub fn speech_to_text(
    config: &DeepgramSection,
    endpoint: &Endpoint,
    connector: Connector,
) -> Result<Arc<dyn SpeechToText>, BoxError> {
    let mut common = common(config, endpoint);
    let timing = &mut common.timing;
    set(&mut timing.finalize_timeout, config.finalize_timeout);
    set(&mut timing.keep_alive_interval, config.keep_alive_interval);
    set(&mut timing.answer_due_after, config.answer_due_after);
    set(&mut timing.mute_after, config.mute_after);
    set(&mut timing.opening_silence, config.opening_silence);
    set(&mut timing.retained, config.retained);
    set(&mut timing.close_timeout, config.close_timeout);
    set_reconnect(&mut common.reconnect, config.reconnect_first, config.reconnect_longest);
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

/// Speech to text of recordings, and its model. Flux hears live speech only; with it, recordings go
/// to the client's default model.
pub fn transcriber(
    config: &DeepgramSection,
    endpoint: &Endpoint,
    connector: Connector,
) -> Result<(Arc<dyn Transcriber>, String), BoxError> {
    let mut recorded = RecordedConfig::default();
    set(&mut recorded.model, config.model.clone().filter(|_| config.api == DeepgramApi::Listen));
    set(&mut recorded.language, config.language.clone());
    let model = recorded.model.clone();
    let transcriber = Recorded::new(&common(config, endpoint), recorded, connector)?;
    Ok((Arc::new(transcriber), model))
}

fn common(config: &DeepgramSection, endpoint: &Endpoint) -> DeepgramConfig {
    let mut common = DeepgramConfig::new(endpoint.key.clone());
    endpoint.url.to_string().trim_end_matches('/').clone_into(&mut common.base_url);
    common.keyterms.clone_from(&config.keyterms);
    common
}

pub fn text_to_speech(
    config: &CartesiaSection,
    endpoint: &Endpoint,
    connector: Connector,
) -> Result<Arc<dyn TextToSpeech>, BoxError> {
    let mut client = CartesiaConfig::new(endpoint.key.clone());
    client.base_url = endpoint.url.clone();
    set(&mut client.model, config.model.clone());
    set(&mut client.voice, config.voice.clone());
    set(&mut client.language, config.language.clone());
    set(&mut client.max_buffer_delay, config.max_buffer_delay);
    set(&mut client.mute_after, config.mute_after);
    set(&mut client.recycle_after, config.recycle_after);
    set(&mut client.context_idle, config.context_idle);
    set(&mut client.retry_delay, config.retry_delay);
    set_reconnect(&mut client.reconnect, config.reconnect_first, config.reconnect_longest);
    Ok(Arc::new(Cartesia::new(client, connector)?))
}
