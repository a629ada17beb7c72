//! Voice in an axum application, answered by an agent of your own: one route, one function.
//!
//! Run `DEEPGRAM_API_KEY=… CARTESIA_API_KEY=… cargo run -p voice-in-axum`, then connect any client
//! of `livos_voice::transport::protocol` to `ws://127.0.0.1:3000/voice`. A public server compares
//! the `Origin` header first, because any page may open a WebSocket to it.

use std::{env, sync::Arc};

use axum::{Router, extract::Request, routing::get};
use livos_core::conversation::{ConversationId, Inbound, Reply, ReplyError, Speaker};
use livos_core::{secret::Secret, user::UserId};
use livos_voice::connect::{self, TcpConfig};
use livos_voice::pipeline::{SessionConfig, VoiceSession};
use livos_voice::stt::{SpeechToText, deepgram};
use livos_voice::transport;
use livos_voice::tts::{TextToSpeech, cartesia};

/// Your agent. It may stream, and keep what was heard of its answers.
async fn answer(inbound: Inbound) -> Result<Reply, ReplyError> {
    Ok(Reply::from_text(format!("You said: {}", inbound.text)))
}

fn app(stt: Arc<dyn SpeechToText>, tts: Arc<dyn TextToSpeech>, name: ConversationId) -> Router {
    let voice = move |mut request: Request| {
        let config = SessionConfig::new(name.clone(), Speaker::Owner, UserId::owner());
        let session =
            VoiceSession::new(Arc::clone(&stt), Arc::clone(&tts), tower::service_fn(answer), config);
        let (response, upgrade) = transport::upgrade(&mut request);
        tokio::spawn(async move {
            if let Ok(transport) = upgrade.await {
                session.run(transport).await;
            }
        });
        async { response }
    };
    Router::new().route("/voice", get(voice))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let (stt_key, tts_key) = (env::var("DEEPGRAM_API_KEY")?, env::var("CARTESIA_API_KEY")?);
    let tcp = connect::tcp(TcpConfig::default())?;
    let config = deepgram::Config::new(Secret::new(stt_key));
    let stt = deepgram::Listen::new(config, &deepgram::ListenConfig::default(), tcp.clone())?;
    let tts = cartesia::Cartesia::new(cartesia::CartesiaConfig::new(Secret::new(tts_key)), tcp)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    let app = app(Arc::new(stt), Arc::new(tts), ConversationId::try_from("kitchen")?);
    Ok(axum::serve(listener, app).await?)
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};
    use hyper_util::{rt::TokioIo, service::TowerToHyperService};
    use livos_twins::{Twin as _, cartesia::Cartesia, deepgram::Deepgram};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;

    /// The application, with clients of simulated providers.
    fn simulated() -> Router {
        let twin = Deepgram::new(Default::default());
        let connector = connect::from_fn(move |_| std::future::ready(Ok(twin.connect())));
        let config = deepgram::Config::new(Secret::new("key-0123456789"));
        let stt = deepgram::Listen::new(config, &deepgram::ListenConfig::default(), connector).unwrap();
        let twin = Cartesia::new(Default::default());
        let connector = connect::from_fn(move |_| std::future::ready(Ok(twin.connect())));
        let config = cartesia::CartesiaConfig::new(Secret::new("key-0123456789"));
        let tts = cartesia::Cartesia::new(config, connector).unwrap();
        app(Arc::new(stt), Arc::new(tts), ConversationId::try_from("test").unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_typed_question_is_answered_aloud() {
        let (near, far) = tokio::io::duplex(1 << 16);
        let server = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(far), TowerToHyperService::new(simulated()));
        tokio::spawn(server.with_upgrades());
        let (mut client, _) = tokio_tungstenite::client_async("ws://localhost/voice", near).await.unwrap();
        for message in [
            r#"{"type":"hello","version":1,"input_rate":16000,"output_rate":24000}"#,
            r#"{"type":"text","text":"hello"}"#,
        ] {
            client.send(Message::text(message)).await.unwrap();
        }
        let mut audio = 0;
        loop {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => audio += bytes.len(),
                Message::Text(text) if text.contains("reply_end") => {
                    break assert!(text.contains("You said: hello"), "{text}");
                }
                _ => {}
            }
        }
        assert!(audio > 24_000, "half a second of speech at least: {audio} bytes");
    }
}
